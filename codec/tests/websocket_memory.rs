//! Memory of compression contexts against what is stated; alone in its process, which it measures.

use hawser_codec::websocket::{
    Opcode, Role,
    deflate::{Agreement, Codec, DEFLATER_BYTES, INFLATER_BYTES, Kept, Settings, Shared},
    extension, header,
};

const CONNECTIONS: usize = 64;

/// Resident memory of this process, bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmRSS:")).expect("it is in there");
    let kilobytes = line.trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().expect("it is a number") * 1024
}

#[test]
fn contexts_take_no_more_memory_than_is_stated() {
    let mut offers = Vec::new();
    extension::parse(b"permessage-deflate", &mut offers).unwrap();
    let agreement = Agreement::accept(&offers, &Settings { take_over: true }).unwrap();
    let mut shared = Shared::new(6);
    let payload: Vec<u8> = (0..20_000).flat_map(|i: u32| (i * 7919).to_le_bytes()).collect();
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    let mut send = |kept: &mut Kept, frame: &mut Vec<u8>| {
        frame.clear();
        let kept = Some(kept);
        Codec { agreement, role: Role::Server, kept, shared: &mut shared }.frame(
            frame,
            Opcode::Binary,
            &payload,
            None,
        );
    };
    // Once beforehand, so that the buffers of this test are there.
    send(&mut Kept::new(agreement).unwrap(), &mut frame);
    let header = header::Header::parse(Role::Client, &frame).unwrap().unwrap();
    let compressed = frame[header.header_bytes..].to_vec();
    let mut receive = |kept: &mut Kept| {
        let (kept, shared) = (Some(kept), &mut Shared::new(6));
        Codec { agreement, role: Role::Server, kept, shared }
            .inflate(&compressed, false, 1 << 20, &mut out)
            .unwrap();
    };
    receive(&mut Kept::new(agreement).unwrap());

    let mut connections: Vec<Kept> = Vec::with_capacity(CONNECTIONS);
    connections.extend((0..CONNECTIONS).map(|_| Kept::new(agreement).unwrap()));
    let before = resident_bytes();
    connections.iter_mut().for_each(|kept| send(kept, &mut frame));
    let between = resident_bytes();
    connections.iter_mut().for_each(&mut receive);
    let after = resident_bytes();

    let deflater = (between - before) / CONNECTIONS;
    let inflater = (after - between) / CONNECTIONS;
    assert!(deflater <= DEFLATER_BYTES && deflater > DEFLATER_BYTES / 2, "deflater {deflater}");
    assert!(inflater <= INFLATER_BYTES && inflater > INFLATER_BYTES / 2, "inflater {inflater}");
    let counted: usize = connections.iter().map(Kept::bytes).sum();
    assert_eq!(counted, CONNECTIONS * (DEFLATER_BYTES + INFLATER_BYTES));
}
