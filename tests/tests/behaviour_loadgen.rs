//! The load generator against the real gateway: every protocol it speaks, with TLS and without,
//! loses nothing and says nothing wrong; who is not trusted is named.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use hawser_loadgen::{
    arguments::Options,
    report::{Report, Verdict},
    run::{self, MakeRing, RunError, Silent},
    scenario::{Curve, Kind, Load, Protocol, Scenario},
    worker::RECEIVE_BYTES,
};
use hawser_ring::uring::{RingSettings, UringRing};

use hawser_tests::{
    process::{Gateway, Home, Setup},
    secure::{Authority, NAME},
};

struct Urings;

impl MakeRing for Urings {
    type Ring = UringRing;

    fn make(&self, slots: u32, _tables: u32) -> Result<(UringRing, u64), String> {
        let settings = RingSettings {
            descriptors: slots,
            completion_entries: 1024,
            submission_entries: 256,
            buffers: 64,
            buffer_bytes: RECEIVE_BYTES,
        };
        let ring = UringRing::new(settings).map_err(|refusal| refusal.0)?;
        Ok((ring, self.now_us()))
    }

    fn now_us(&self) -> u64 {
        UringRing::now().monotonic_us
    }
}

/// All protocols, the index of their listener, and the path.
const SPOKEN: [(Protocol, usize, &str); 7] = [
    (Protocol::Native, 0, ""),
    (Protocol::WebsocketNative, 1, ""),
    (Protocol::WebsocketJson, 1, ""),
    (Protocol::Echo, 1, ""),
    (Protocol::Mqtt3, 2, ""),
    (Protocol::Mqtt5, 2, ""),
    (Protocol::Mqtt5, 1, "/mqtt"),
];

/// A gateway with listeners for native, WebSocket and MQTT at its spare addresses.
fn gateway(tls: bool) -> (Gateway, PathBuf) {
    let (home, authority) = (Home::new(), Authority::new());
    let files = authority.issue(&home, "server");
    let trusted = authority.publish(&home);
    let listeners = [("native", 0), ("websocket", 1), ("mqtt", 2)].map(|(kind, spare)| {
        let address = home.spare[spare];
        format!("[[listener]]\nkind = \"{kind}\"\naddress = \"{address}\"\ntls = {tls}\n")
    });
    let (chain, key) = (files.chain.display(), files.key.display());
    let certificates = format!("certificates = [{{ chain = \"{chain}\", key = \"{key}\" }}]");
    let text = format!("{}[websocket]\necho = true\n[tls]\n{certificates}\n", listeners.concat());
    let path = home.write("gateway.toml", &text).display().to_string();
    let setup = Setup::new().without_listeners().argument("--config").argument(path);
    (setup.start_in(home), trusted)
}

fn chat(
    (protocol, path): (Protocol, &str),
    target: SocketAddr,
    trusted: Option<PathBuf>,
) -> Result<Report, RunError> {
    let usual = Scenario::usual(Kind::Chat);
    let scenario = Scenario {
        protocol,
        path: path.to_owned(),
        tls: trusted.is_some(),
        users: 8,
        duration: Duration::from_millis(600),
        warm_up: Duration::ZERO,
        load: Load { curve: Curve::Constant(200.0), ..usual.load },
        ..usual
    };
    let options = Options {
        tls_ca: trusted,
        server_name: NAME.to_owned(),
        // Other tests share the machine: their load must not make a run invalid.
        schedule_lag_max: Duration::from_secs(60),
        ..Options::to(target)
    };
    run::run(&scenario, &options, "", u64::from(target.port()), Urings, &mut Silent)
}

#[track_caller]
fn assert_whole(report: &Report, what: &str) {
    let reasons = &report.reasons;
    assert_ne!(report.verdict, Verdict::CorrectnessFailed, "{what}: {reasons:?}");
    assert_eq!(report.offered, 120, "{what}");
    assert_eq!((report.delivered, report.lost), (120, 0), "{what}: {reasons:?}");
    let wrong = (report.duplicated, report.reordered, report.corrupted, report.misdelivered);
    assert_eq!(wrong, (0, 0, 0, 0), "{what}: {reasons:?}");
}

#[test]
fn every_protocol_delivers_everything() {
    let (gateway, _) = gateway(false);
    for (protocol, listener, path) in SPOKEN {
        let what = format!("{} {path}", protocol.name());
        let report = chat((protocol, path), gateway.home().spare[listener], None);
        assert_whole(&report.unwrap_or_else(|error| panic!("{what}: {error:?}")), &what);
    }
}

#[test]
fn every_protocol_delivers_everything_over_tls() {
    let (gateway, trusted) = gateway(true);
    for (protocol, listener, path) in SPOKEN {
        let what = format!("{} {path} over TLS", protocol.name());
        let target = gateway.home().spare[listener];
        let report = chat((protocol, path), target, Some(trusted.clone()));
        assert_whole(&report.unwrap_or_else(|error| panic!("{what}: {error:?}")), &what);
    }
}

#[test]
fn server_whose_certificate_is_not_trusted_is_named() {
    let (gateway, _) = gateway(true);
    let stranger = Authority::new().publish(gateway.home());
    let refused = chat((Protocol::Native, ""), gateway.home().spare[0], Some(stranger));
    let Err(RunError::Environment(reason)) = refused else { panic!("nobody may log in") };
    assert!(reason.contains("signed by nobody who is trusted"), "{reason}");
}
