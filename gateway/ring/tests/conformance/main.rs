//! The same scenarios on io_uring and on the simulation, with the same traces.
//!
//! A scenario talks to rings through the trait only. What it sees is normalised (per operation:
//! event, result class, `more`; consecutive bytes are one step) and compared with the trace
//! recorded from the real ring, which stands beside the scenario. The simulation is only as true
//! as this list.

mod files;
mod lifetimes;
mod stage;
mod streams;

use hawser_ring::{
    RingSettings,
    sim::{Faults, SimDisk, World},
    uring::{RingGroup, UringRing},
};
use stage::{Scenario, Stage};

fn scenarios() -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    scenarios.extend(streams::SCENARIOS);
    scenarios.extend(lifetimes::SCENARIOS);
    scenarios.extend(files::SCENARIOS);
    scenarios
}

/// Runs every scenario and reports all that differ.
fn check(make: impl Fn(&Scenario, u16) -> Stage) {
    let mut differing = String::new();
    for (number, scenario) in scenarios().iter().enumerate() {
        let mut stage = make(scenario, 11_000 + number as u16);
        (scenario.run)(&mut stage);
        stage.settle();
        let trace = stage.trace();
        let expected: Vec<&str> = scenario.expected.lines().map(str::trim).collect();
        if trace != expected {
            let trace = trace.join("\n    ");
            differing.push_str(&format!("\n{}:\n    {trace}\n", scenario.name));
        }
    }
    assert!(differing.is_empty(), "traces differ from the recorded ones:{differing}");
}

#[test]
fn the_real_ring_does_as_recorded() {
    check(|scenario, port| {
        let directory = std::env::temp_dir().join(format!("hawser-conformance-{port}"));
        std::fs::create_dir_all(&directory).expect("a directory for temporary files");
        Stage::real(port, directory, |descriptors| {
            let settings = settings(scenario, descriptors);
            // No fallback: where io_uring is forbidden this list has not been run.
            Box::new(UringRing::new(settings).expect("io_uring is required"))
        })
    });
}

/// With tables so small that the sockets of a scenario stand in different ones.
#[test]
fn a_group_of_rings_does_as_one() {
    check(|scenario, port| {
        let port = port + 100;
        let directory = std::env::temp_dir().join(format!("hawser-conformance-{port}"));
        std::fs::create_dir_all(&directory).expect("a directory for temporary files");
        Stage::real(port, directory, |descriptors| {
            let settings = settings(scenario, descriptors / 2);
            Box::new(RingGroup::new(settings, 2).expect("io_uring is required"))
        })
    });
}

#[test]
fn the_simulation_does_as_recorded() {
    for seed in 0..20 {
        check(|scenario, port| {
            let world = World::new(seed, Faults::none());
            let disk = SimDisk::new(&world);
            Stage::simulated(port, &world, &disk, |descriptors| settings(scenario, descriptors))
        });
    }
}

fn settings(scenario: &Scenario, descriptors: u32) -> RingSettings {
    RingSettings {
        descriptors,
        completion_entries: 256,
        submission_entries: 16,
        buffers: scenario.buffers,
        buffer_bytes: 32,
    }
}
