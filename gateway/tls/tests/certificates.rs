//! Which certificate a client is shown, and which files are refused with which words.

#![allow(missing_docs, clippy::unwrap_used)]

mod peer;

use hawser_tls::{CertificatePem, ClientCertificates, Listening, Problem};
use peer::{Authority, NOW_S, Side, Wishes, client, listening, material, pem, shake};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

#[test]
fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let authority = Authority::new("tests");
    let default = authority.issue(&["chat.example", "127.0.0.1"]);
    let wild = authority.issue(&["*.other.example", "other.example"]);
    let exact = authority.issue(&["Www.Other.Example"]);
    let certificates = [default.pem(), wild.pem(), exact.pem()];
    let listening = listening(&material(&certificates));
    for (name, issued) in [
        ("chat.example", &default),
        ("a.other.example", &wild),
        ("OTHER.example", &wild),
        ("www.other.example", &exact),
        ("127.0.0.1", &default),
    ] {
        let mut client = client(&Wishes::default().config(&authority), name);
        shake(&mut Side::new(&listening), &mut client).unwrap();
        let shown = &client.peer_certificates().unwrap()[0];
        let meant = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
        assert_eq!(*shown, meant, "{name}");
    }
}

fn refusal(certificates: &[CertificatePem<'_>]) -> (String, Problem) {
    match Listening::new(&material(certificates), &[], NOW_S) {
        Err(refused) => (refused.to_string(), refused.problem),
        Ok(_) => panic!("nothing is refused"),
    }
}

#[test]
fn a_file_is_refused_with_its_name_and_its_fault() {
    let authority = Authority::new("tests");
    let good = authority.issue(&["chat.example"]);
    let other = authority.issue(&["chat.example"]);
    let pair = |chain, key| CertificatePem { chain: pem("a.pem", chain), key: pem("a.key", key) };
    let cases = [
        (pair("", &good.key), "a.pem holds no certificate"),
        (pair(&good.key, &good.key), "a.pem holds no certificate"),
        (pair(&good.chain, ""), "a.key holds no private key"),
        (pair(&good.chain, &good.chain), "a.key holds no private key"),
        (pair(&good.chain, &other.key), "a.key is not the key of the certificate in a.pem"),
    ];
    for (certificate, words) in cases {
        assert_eq!(refusal(&[certificate]).0, words);
    }
    let (words, problem) = refusal(&[]);
    assert_eq!((words.as_str(), problem), ("no certificate is configured", Problem::Nothing));
}

#[test]
fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new("tests");
    let expired = authority.issue_with(&["chat.example"], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1)
    });
    let future = authority.issue_with(&["chat.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2040, 1, 1)
    });
    let words = refusal(&[expired.pem()]).0;
    assert_eq!(words, "server.pem expired on Jan  1 00:00:00 2020 +00:00");
    let words = refusal(&[future.pem()]).0;
    assert_eq!(words, "server.pem is not valid before Jan  1 00:00:00 2040 +00:00");
}

#[test]
fn the_file_of_the_clients_authorities_is_checked_too() {
    let authority = Authority::new("tests");
    let good = authority.issue(&["chat.example"]);
    let clients = ClientCertificates::Required(pem("clients.pem", ""));
    let material = hawser_tls::Material { clients, ..material(&[]) };
    let certificates = [good.pem()];
    let material = hawser_tls::Material { certificates: &certificates, ..material };
    let Err(refused) = Listening::new(&material, &[], NOW_S) else { panic!("it is refused") };
    assert_eq!(refused.to_string(), "clients.pem holds no certificate");
}
