//! Headers as balancers send them, every way to cut them, and every way they are wrong.

use super::*;

/// A header of version 2 with this command, family, block.
fn v2(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([version_command, family]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![kind];
    tlv.extend((value.len() as u16).to_be_bytes());
    tlv.extend(value);
    tlv
}

const BLOCK_V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];

fn block_v6() -> Vec<u8> {
    let mut block = Vec::new();
    for last in [1, 2] {
        block.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
    }
    block.extend([0xDC, 0x04, 0x01, 0xBB]);
    block
}

fn block_unix(source: &[u8], destination: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 2 * UNIX_PATH_BYTES];
    block[..source.len()].copy_from_slice(source);
    block[UNIX_PATH_BYTES..][..destination.len()].copy_from_slice(destination);
    block
}

/// With a checksum in front of another TLV, as the text lets a sender do.
fn with_checksum() -> Vec<u8> {
    let mut block = BLOCK_V4.to_vec();
    block.extend(tlv(TLV_CRC32C, &[0; 4]));
    block.extend(tlv(5, b"unique"));
    let mut header = v2(0x21, 0x11, &block);
    let sum = crc32c::crc32c(&header);
    let at = V2_FIXED_BYTES + BLOCK_V4.len() + TLV_HEAD_BYTES;
    header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
    header
}

fn internet(transport: Transport, source: &str, destination: &str) -> Header<'static> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    Header::Internet { transport, source, destination }
}

fn samples() -> Vec<(Vec<u8>, Header<'static>)> {
    use Transport::{Datagram, Stream};
    let v4 = internet(Stream, "192.0.2.1:56324", "198.51.100.2:443");
    let v6 = internet(Stream, "[2001:db8::1]:56324", "[2001:db8::2]:443");
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest_line = format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n");
    let longest = format!("[{longest}]:65535");
    vec![
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n".to_vec(), v6),
        (longest_line.into_bytes(), internet(Stream, &longest, &longest)),
        (
            b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(),
            internet(Stream, "0.0.0.0:0", "0.0.0.0:0"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Unknown),
        (b"PROXY UNKNOWN ffff::1 nonsense 70000\r\n".to_vec(), Header::Unknown),
        (v2(0x21, 0x11, &BLOCK_V4), v4),
        (v2(0x21, 0x12, &BLOCK_V4), internet(Datagram, "192.0.2.1:56324", "198.51.100.2:443")),
        (v2(0x21, 0x21, &block_v6()), v6),
        (
            v2(0x21, 0x22, &block_v6()),
            internet(Datagram, "[2001:db8::1]:56324", "[2001:db8::2]:443"),
        ),
        (
            v2(0x21, 0x31, &block_unix(b"/run/client", b"\0abstract")),
            Header::Unix { transport: Stream, source: b"/run/client", destination: b"\0abstract" },
        ),
        (
            v2(0x21, 0x32, &block_unix(b"", &[b'x'; UNIX_PATH_BYTES])),
            Header::Unix {
                transport: Datagram,
                source: b"",
                destination: &[b'x'; UNIX_PATH_BYTES],
            },
        ),
        (v2(0x20, 0x00, b""), Header::Local),
        // A family that is not assigned and no addresses: of LOCAL nothing is looked at.
        (v2(0x20, 0xFF, b"anything"), Header::Local),
        (v2(0x21, 0x00, b""), Header::Unknown),
        (v2(0x21, 0x00, b"anything"), Header::Unknown),
        (v2(0x21, 0x11, &[&BLOCK_V4[..], &tlv(4, &[0; 40]), &tlv(0x20, b"")].concat()), v4),
        (with_checksum(), v4),
        (v2(0x21, 0x11, &[&BLOCK_V4[..], &tlv(4, &[0; V2_BYTES_MAX - 16 - 12 - 3])].concat()), v4),
    ]
}

#[test]
fn a_header_is_taken_whole_and_what_follows_is_left() {
    for (bytes, header) in samples() {
        for behind in [&b""[..], b"PROXY ", b"\r\n", &[0xA7]] {
            let stream = [&bytes[..], behind].concat();
            let consumed = bytes.len();
            assert_eq!(step(&stream), Ok(Step::Header { header, consumed }), "{bytes:x?}");
        }
    }
}

#[test]
fn at_every_split_point_more_is_asked_for_and_never_too_much() {
    for (bytes, _) in samples() {
        for cut in 0..bytes.len() {
            let Ok(Step::NeedMore { at_least }) = step(&bytes[..cut]) else {
                panic!("{:x?}: {:?}", &bytes[..cut], step(&bytes[..cut]));
            };
            assert!(at_least > cut && at_least <= bytes.len(), "{at_least} at {cut}: {bytes:x?}");
        }
    }
}

#[test]
fn source_is_the_client_where_one_is_named() {
    let named = |bytes: &[u8]| match step(bytes) {
        Ok(Step::Header { header, .. }) => header.source(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&v2(0x21, 0x11, &BLOCK_V4)), Some("192.0.2.1:56324".parse().unwrap()));
    assert_eq!(named(&v2(0x20, 0x11, &BLOCK_V4)), None);
    assert_eq!(named(b"PROXY UNKNOWN\r\n"), None);
    assert_eq!(named(&v2(0x21, 0x31, &block_unix(b"a", b"b"))), None);
}

#[test]
fn a_line_that_says_something_else_is_refused_for_what_is_wrong_with_it() {
    for (line, fault) in [
        ("TCP5 192.0.2.1 192.0.2.2 1 2", LineFault::Protocol),
        ("tcp4 192.0.2.1 192.0.2.2 1 2", LineFault::Protocol),
        ("", LineFault::Protocol),
        (" TCP4 192.0.2.1 192.0.2.2 1 2", LineFault::Protocol),
        ("UNKNOWNS", LineFault::Protocol),
        ("TCP4", LineFault::Fields),
        ("TCP4 192.0.2.1 192.0.2.2 1", LineFault::Fields),
        ("TCP4 192.0.2.1 192.0.2.2 1 2 3", LineFault::Fields),
        ("TCP4 192.0.2.1 192.0.2.2 1 2 ", LineFault::Fields),
        ("TCP4  192.0.2.1 192.0.2.2 1", LineFault::Address),
        ("TCP4 2001:db8::1 192.0.2.2 1 2", LineFault::Address),
        ("TCP6 192.0.2.1 192.0.2.2 1 2", LineFault::Address),
        ("TCP4 192.0.2.01 192.0.2.2 1 2", LineFault::Address),
        ("TCP4 192.0.2.1 192.0.2 1 2", LineFault::Address),
        ("TCP6 fe80::1%eth0 ::2 1 2", LineFault::Address),
        ("TCP4 192.0.2.1 192.0.2.2 65536 2", LineFault::Port),
        ("TCP4 192.0.2.1 192.0.2.2 1 02", LineFault::Port),
        ("TCP4 192.0.2.1 192.0.2.2 +1 2", LineFault::Port),
        ("TCP4 192.0.2.1 192.0.2.2 -1 2", LineFault::Port),
        ("TCP4 192.0.2.1 192.0.2.2 1 99999999999999999999", LineFault::Port),
    ] {
        let line = format!("PROXY {line}\r\n");
        assert_eq!(step(line.as_bytes()), Err(ProxyError::Line(fault)), "{line:?}");
    }
    for line in [&b"PROXY UNKNOWN\n"[..], b"PROXY UNKNOWN\r\r\n", b"PROXY UNKNOWN\rX"] {
        assert_eq!(step(line), Err(ProxyError::Line(LineFault::End)));
    }
    assert_eq!(step(b"PROXY TCP4 \xff \xff 1 2\r\n"), Err(ProxyError::Line(LineFault::Address)));
}

#[test]
fn a_line_without_an_end_is_refused_at_its_limit() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(V1_BYTES_MAX - 1, b'x');
    assert_eq!(step(&line), Ok(Step::NeedMore { at_least: V1_BYTES_MAX }));
    for last in [b'x', b'\r'] {
        let longest = [&line[..], &[last]].concat();
        assert_eq!(step(&longest), Err(ProxyError::LineTooLong));
    }
    // An end behind the limit is none.
    assert_eq!(step(&[&line[..], b"\r\n"].concat()), Err(ProxyError::LineTooLong));
    assert_eq!(step(&[&line[..], b"xx\r\n"].concat()), Err(ProxyError::LineTooLong));
}

#[test]
fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
    assert_eq!(step(b"GET / HTTP/1.1"), Err(ProxyError::NoHeader { at: 0 }));
    assert_eq!(step(b"PROXX"), Err(ProxyError::NoHeader { at: 4 }));
    assert_eq!(step(b"PROXY\r\n"), Err(ProxyError::NoHeader { at: 5 }));
    for at in 0..SIGNATURE.len() {
        let mut wrong = SIGNATURE[..=at].to_vec();
        wrong[at] ^= 0x80;
        assert_eq!(step(&wrong), Err(ProxyError::NoHeader { at }));
    }
}

#[test]
fn a_wrong_version_command_or_family_is_refused_before_the_rest_has_come() {
    let first = |bytes: usize, version_command, family| {
        let mut header = v2(version_command, family, &BLOCK_V4);
        header.truncate(bytes);
        header
    };
    for version in [0, 1, 3, 15] {
        let header = first(13, version << 4 | 1, 0x11);
        assert_eq!(step(&header), Err(ProxyError::Version { version }));
    }
    for command in 2..=15 {
        let header = first(13, 0x20 | command, 0x11);
        assert_eq!(step(&header), Err(ProxyError::Command { command }));
    }
    for family in [0x01, 0x02, 0x10, 0x13, 0x20, 0x23, 0x30, 0x33, 0x41, 0xFF] {
        let header = first(16, 0x21, family);
        assert_eq!(step(&header), Err(ProxyError::Family { family }));
    }
}

#[test]
fn a_length_that_does_not_fit_is_refused_with_the_fixed_part_alone() {
    for (family, addresses) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        let header = v2(0x21, family, &vec![0; addresses - 1]);
        let (bytes, bytes_min) = (16 + addresses - 1, 16 + addresses);
        assert_eq!(step(&header[..16]), Err(ProxyError::TooShort { bytes, bytes_min }));
    }
    for command in [0x20, 0x21] {
        let header = v2(command, 0x11, &vec![0; V2_BYTES_MAX - 15]);
        let bytes = V2_BYTES_MAX + 1;
        assert_eq!(step(&header[..16]), Err(ProxyError::TooLong { bytes }));
    }
}

#[test]
fn a_tlv_that_does_not_end_with_the_header_is_refused() {
    for (tail, at) in [
        (&[4][..], 28),
        (&[4, 0], 28),
        (&[4, 0, 1], 28),
        (&[4, 0, 1, 9, 4, 0xFF, 0xFF, 9], 32),
        // A checksum of other than four bytes.
        (&[TLV_CRC32C, 0, 3, 1, 2, 3], 28),
        (&[TLV_CRC32C, 0, 5, 1, 2, 3, 4, 5], 28),
    ] {
        let header = v2(0x21, 0x11, &[&BLOCK_V4[..], tail].concat());
        assert_eq!(step(&header), Err(ProxyError::Tlv { at }), "{tail:x?}");
    }
}

#[test]
fn one_changed_bit_is_seen_by_the_checksum_or_before() {
    let good = with_checksum();
    assert!(step(&good).is_ok());
    // Without what says where it is, a checksum is not found.
    let finds_it = [14, 15, V2_FIXED_BYTES + BLOCK_V4.len()];
    for bit in (0..good.len() * 8).filter(|bit| !finds_it.contains(&(bit / 8))) {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match step(&bad) {
            Err(_) => {}
            // The command that asks for nothing to be looked at.
            Ok(taken) => {
                let consumed = good.len();
                assert_eq!(taken, Step::Header { header: Header::Local, consumed }, "bit {bit}");
            }
        }
    }
}

#[test]
fn every_refusal_says_what_is_wrong() {
    for error in [
        ProxyError::NoHeader { at: 3 },
        ProxyError::LineTooLong,
        ProxyError::Line(LineFault::End),
        ProxyError::Version { version: 3 },
        ProxyError::Command { command: 3 },
        ProxyError::Family { family: 0x41 },
        ProxyError::TooLong { bytes: 5000 },
        ProxyError::TooShort { bytes: 20, bytes_min: 28 },
        ProxyError::Tlv { at: 28 },
        ProxyError::Checksum { found: 1, computed: 2 },
    ] {
        assert!(error.to_string().len() > 15, "{error}");
    }
}
