//! What a run of so many connections needs on this machine, and what is missing.

use std::{fmt::Write, fs};

use crate::{identity::CONNECTIONS_PER_ADDRESS, measure::kilobytes, worker::SLOT_BYTES};

/// Kernel memory of one idle TCP socket with an armed poll, bytes; measured on Linux 6.18.
const KERNEL_BYTES: u64 = 4_200;

/// What the machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Soft `RLIMIT_NOFILE`.
    pub descriptors: u64,
    /// Memory available, bytes.
    pub memory_bytes: u64,
    /// First local port.
    pub port_first: u64,
}

impl Machine {
    /// This machine, as far as it tells.
    pub fn here() -> Self {
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let soft = line.and_then(|rest| rest.split_whitespace().next()).unwrap_or("unlimited");
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let ports =
            fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let port = ports.split_whitespace().next().and_then(|port| port.parse().ok());
        Self {
            descriptors: soft.parse().unwrap_or(u64::MAX),
            memory_bytes: kilobytes(&memory, "MemAvailable:") * 1024,
            port_first: port.unwrap_or(32_768),
        }
    }
}

/// What a run needs, and what of it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For people.
    pub text: String,
    /// One line for each thing that is missing, with its value and the one needed.
    pub missing: Vec<String>,
}

/// Descriptors a ring's table takes for so many connections.
pub fn table_slots(connections: u32) -> u32 {
    connections + 64
}

/// Plans a run of so many connections, the server on the same machine.
pub fn plan(connections: u32, machine: &Machine) -> Plan {
    let rings = connections.div_ceil(CONNECTIONS_PER_ADDRESS);
    let own = u64::from(connections) * SLOT_BYTES;
    let kernel = u64::from(connections) * KERNEL_BYTES;
    let needed = u64::from(table_slots(connections.min(CONNECTIONS_PER_ADDRESS)));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let mut text = String::new();
    let line = |text: &mut String, name: &str, value: String| {
        writeln!(text, "{name:<28}{value}").expect("writing to a string cannot fail");
    };
    line(&mut text, "connections", connections.to_string());
    line(&mut text, "rings of 19,900", rings.to_string());
    let addresses = format!("{rings} in 127.16.0.0/12 and above, nothing to configure");
    line(&mut text, "source addresses", addresses);
    line(&mut text, "ports on each", "20000-39899, and 40000-59899 for reconnects".to_owned());
    line(&mut text, "descriptors (open files)", format!("{} of {}", needed, machine.descriptors));
    line(&mut text, "memory of this process", format!("{} MiB", mib(own)));
    line(&mut text, "kernel memory, this side", format!("{} MiB", mib(kernel)));
    line(&mut text, "kernel memory, server side", format!("{} MiB", mib(kernel)));
    line(&mut text, "memory available", format!("{} MiB", mib(machine.memory_bytes)));
    let mut missing = Vec::new();
    if machine.descriptors < needed {
        missing.push(format!(
            "open files: RLIMIT_NOFILE is {}, needed {} (ulimit -n)",
            machine.descriptors, needed
        ));
    }
    if machine.memory_bytes < own + 2 * kernel {
        missing.push(format!(
            "memory: {} MiB available, needed {} MiB for both ends",
            mib(machine.memory_bytes),
            mib(own + 2 * kernel)
        ));
    }
    if machine.port_first < 20_000 {
        missing.push(format!(
            "ports: net.ipv4.ip_local_port_range begins at {}, other programs may take ports that \
             servers listen on; 20000 or above is safe",
            machine.port_first
        ));
    }
    for reason in &missing {
        line(&mut text, "missing", reason.clone());
    }
    Plan { text, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine =
        Machine { descriptors: 20_000, memory_bytes: 24 << 30, port_first: 32_768 };

    #[test]
    fn million_fits_a_large_machine_with_the_usual_limits() {
        let plan = plan(1_000_000, &MACHINE);
        assert!(plan.missing.is_empty(), "{:?}", plan.missing);
        assert!(plan.text.contains("51"), "{}", plan.text);
    }

    #[test]
    fn what_is_missing_is_named_with_both_values() {
        let small = Machine { descriptors: 1024, memory_bytes: 1 << 30, port_first: 1024 };
        let missing = plan(1_000_000, &small).missing;
        assert!(missing[0].contains("RLIMIT_NOFILE is 1024, needed 19964"), "{missing:?}");
        assert!(missing[1].contains("1024 MiB available"), "{missing:?}");
        assert!(missing[2].contains("ip_local_port_range begins at 1024"), "{missing:?}");
    }
}
