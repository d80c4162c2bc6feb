//! What the machine is to carry.

/// The load a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Connections held at once.
    pub connections: u64,
    /// Messages delivered per second, over all connections.
    pub message_rate: f64,
    /// Share of connections that have a message queued in the kernel at the worst instant: 1 for a
    /// broadcast to everybody.
    pub fan_out_share: f64,
    /// Share of connections that read so slowly that their buffers are full.
    pub slow_share: f64,
    /// Share of connections over TLS.
    pub tls_share: f64,
    /// Connections that come back within a second after a failure, over all listeners.
    pub connect_rate: f64,
    /// Interval of heartbeats, seconds.
    pub heartbeat_s: f64,
    /// Both ends are on this machine, as when a load generator runs beside the server.
    pub both_ends: bool,
}

impl Load {
    /// So many connections with what an instant-messaging fleet usually does with them: a fifth of
    /// them are reached by one fan-out, one in a thousand reads slowly, all return in 50 s.
    #[must_use]
    pub fn of(connections: u64) -> Self {
        Self {
            connections,
            message_rate: connections as f64 / 200.0,
            fan_out_share: 0.2,
            slow_share: 0.001,
            tls_share: 0.0,
            connect_rate: (connections as f64 / 50.0).max(100.0),
            heartbeat_s: 30.0,
            both_ends: false,
        }
    }

    /// Sockets on this machine.
    #[must_use]
    pub fn sockets(&self) -> u64 {
        if self.both_ends { 2 * self.connections } else { self.connections }
    }

    /// Why these numbers make no load.
    ///
    /// # Errors
    /// The option's name, its value and what is allowed.
    pub fn validate(&self) -> Result<(), String> {
        let share = |name: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                Ok(())
            } else {
                Err(format!("--{name} is {value}: a share is between 0 and 1"))
            }
        };
        if self.connections == 0 || self.connections > CONNECTIONS_MAX {
            return Err(format!(
                "--connections is {}: allowed are 1 to {CONNECTIONS_MAX}",
                self.connections
            ));
        }
        share("fan-out", self.fan_out_share)?;
        share("slow", self.slow_share)?;
        share("tls", self.tls_share)?;
        for (name, value) in [
            ("message-rate", self.message_rate),
            ("connect-rate", self.connect_rate),
            ("heartbeat", self.heartbeat_s),
        ] {
            if !value.is_finite() || value < 0.0 || (name == "heartbeat" && value == 0.0) {
                return Err(format!("--{name} is {value}: it must be a number above 0"));
            }
        }
        Ok(())
    }
}

/// Beyond this no single machine of today is meant, and products of the formulas stay exact.
pub const CONNECTIONS_MAX: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_out_of_range_names_the_option_its_value_and_what_is_allowed() {
        let mut load = Load::of(1000);
        assert_eq!(load.validate(), Ok(()));
        load.slow_share = 1.5;
        assert_eq!(load.validate().unwrap_err(), "--slow is 1.5: a share is between 0 and 1");
        let none = Load::of(0).validate().unwrap_err();
        assert_eq!(none, "--connections is 0: allowed are 1 to 100000000");
        load = Load { heartbeat_s: 0.0, ..Load::of(1) };
        assert!(load.validate().unwrap_err().starts_with("--heartbeat is 0"));
    }
}
