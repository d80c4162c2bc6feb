use super::*;
use crate::system::Unseen;
use observe::Cache;
use std::collections::BTreeMap;

/// Looks at a made-up kernel: 2 TCP objects a pair at the connect, a file each at connect and accept,
/// a request per armed operation, 1.5 buffers a message, and `noise` on everything else.
fn looks(noise: impl Fn(usize) -> f64) -> Vec<Look> {
    let mut looks = Vec::new();
    let mut number = 0;
    for round in 0..3 {
        let mut opened = Opened::default();
        let mut steps = vec![opened; probe::IDLE_LOOKS];
        for kind in 0..KINDS {
            for _ in 0..5 {
                let count = [
                    &mut opened.clients,
                    &mut opened.servers,
                    &mut opened.watches,
                    &mut opened.receives,
                    &mut opened.messages,
                ];
                *count[kind] += 500;
                steps.push(opened);
            }
        }
        steps.extend([opened; probe::IDLE_LOOKS]);
        for (at, opened) in steps.into_iter().enumerate() {
            number += 1;
            let at_s = at as f64 * 0.1;
            let [clients, servers, watches, receives, messages] = opened.columns();
            let cache = |objects: f64, object_bytes: f64| Cache { objects, object_bytes };
            let caches = BTreeMap::from([
                ("TCP".to_owned(), cache(70.0 + 2.0 * clients, 2500.0)),
                ("filp".to_owned(), cache(1e4 + clients + servers + 90.0 * at_s, 200.0)),
                ("io_kiocb".to_owned(), cache(watches + receives + noise(number), 256.0)),
                ("apoll".to_owned(), cache(receives, 100.0)),
                ("skbuff".to_owned(), cache(1.5 * messages, 400.0)),
                ("vm_area_struct".to_owned(), cache(5e5 + 40.0 * noise(number), 200.0)),
            ]);
            let slab =
                1e8 + caches.values().map(|cache| cache.objects * cache.object_bytes).sum::<f64>();
            let sample = Sample {
                caches: Ok(caches),
                slab_bytes: Ok(slab),
                available_bytes: Ok(1e10),
                tcp_pages: Ok(5.0 + messages),
                tcp_sockets: Ok(70.0 + 2.0 * clients),
                group_bytes: Err(Unseen::Absent),
            };
            looks.push(Look { round, at_s, opened, sample });
        }
    }
    looks
}

fn close(estimate: Estimate, expected: f64) {
    assert!((estimate.value - expected).abs() < 0.02 * expected, "{estimate:?}, not {expected}");
}

/// Numbers between -1 and 1 that follow no opening.
fn wobble(number: usize) -> f64 {
    (number as f64 * 2.399_963).sin()
}

#[test]
fn each_kind_gets_what_it_takes_and_other_work_is_not_counted() {
    let found = calibrate(&looks(wobble), "6.18", 4096, 200).unwrap();
    close(found.idle_client, 2700.0);
    close(found.idle_server, 2700.0);
    close(found.armed_watch, 256.0);
    close(found.armed_receive, 356.0);
    close(found.queued_message, 600.0);
    close(found.queued_pages, 1.0);
    assert!(found.caches.iter().all(|cache| cache.name != "vm_area_struct"), "{:?}", found.caches);
    assert_eq!((found.sight, found.sockets_max, found.looks), (Sight::Caches, 5000, 3 * 37));
    assert!(found.armed_watch.error > 0.0, "the wobble shows in the error");
    assert!(found.unseen[0].starts_with("memory of the control group"), "{:?}", found.unseen);
    let opened = Opened { clients: 10, servers: 10, watches: 10, ..Opened::default() };
    let predicted = found.predicted_bytes(opened);
    assert!((predicted / (10.0 * (2700.0 + 2700.0 + 256.0)) - 1.0).abs() < 0.01, "{predicted}");
}

#[test]
fn sockets_that_others_open_meanwhile_are_not_taken_for_ours() {
    let mut looks = looks(wobble);
    for (at, look) in looks.iter_mut().enumerate() {
        // They come in bursts and go again.
        let theirs = (at / 7 % 3 * 900) as f64;
        *look.sample.tcp_sockets.as_mut().unwrap() += theirs;
        let caches = look.sample.caches.as_mut().unwrap();
        caches.get_mut("TCP").unwrap().objects += theirs;
        caches.get_mut("filp").unwrap().objects += theirs;
    }
    let found = calibrate(&looks, "6.18", 4096, 200).unwrap();
    close(found.idle_client, 2700.0);
    close(found.idle_server, 2700.0);
    close(found.armed_watch, 256.0);
}

#[test]
fn without_the_caches_the_whole_slab_is_taken_and_halved_between_the_ends() {
    let mut looks = looks(|_| 0.0);
    for look in &mut looks {
        look.sample.caches = Err(Unseen::Forbidden);
    }
    let found = calibrate(&looks, "6.18", 4096, 200).unwrap();
    assert_eq!(found.sight, Sight::Slab);
    close(found.idle_client, 2700.0);
    close(found.idle_server, 2700.0);
    close(found.armed_receive, 356.0);
    assert!(found.unseen.iter().any(|line| line.contains("may not be read")), "{:?}", found.unseen);
    for look in &mut looks {
        look.sample.slab_bytes = Err(Unseen::Forbidden);
    }
    assert!(calibrate(&looks, "6.18", 4096, 200).unwrap_err().0.starts_with("neither"));
}

#[test]
fn kinds_that_were_opened_together_only_have_no_figures() {
    let together: Vec<Look> = looks(|_| 0.0)
        .into_iter()
        .map(|mut look| {
            look.opened.servers = look.opened.clients;
            look
        })
        .collect();
    assert!(calibrate(&together, "6.18", 4096, 200).is_err());
    assert!(calibrate(&[], "6.18", 4096, 200).is_err());
}

#[test]
fn a_file_is_read_back_and_one_that_cannot_be_is_refused_with_the_reason() {
    let found = calibrate(&looks(wobble), "6.18", 4096, 200).unwrap();
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(Calibration::from_json(&text).unwrap(), found);
    let cost = found.cost(KernelCost::kept(4096));
    assert_eq!(cost.idle_socket, found.idle_server.value);
    assert_eq!((cost.source, cost.conntrack_entry), (CostSource::Calibrated, 256.0));
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(Calibration::from_json(&newer).unwrap_err().contains("newer"));
    let negative = Calibration { idle_server: Estimate { value: -1.0, error: 0.0 }, ..found };
    let text = serde_json::to_string(&negative).unwrap();
    assert!(Calibration::from_json(&text).unwrap_err().starts_with("idle_server is -1"));
    assert!(Calibration::from_json("{}").is_err());
}
