//! Asks a real path how much silence it bears: a shell over TCP connections, one for each try, so
//! that a try which is cut loses nobody's messages.
//!
//! What answers is an echo server, or any MQTT server. The cut may be that of a NAT, a firewall, a
//! load balancer or the server itself: seen from here they are one path.

use super::probe::Tried;
use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// Connecting may take so long.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Echo connections served at once: a probe has one, and a stranger gets no more threads than these.
pub const ECHOES_MAX: usize = 64;
/// An echo connection that says nothing for so long is given up: longer than any time-out that is
/// searched for.
const ECHO_SILENCE_MAX: Duration = Duration::from_secs(3 * 3600);

/// What the other end understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Every byte comes back.
    Echo,
    /// MQTT 3.1.1: pings are answered.
    Mqtt,
}

/// CONNECT of MQTT 3.1.1 (clean session, longest keep-alive, client id `hawser-tune`).
const MQTT_CONNECT: &[u8] = b"\x10\x17\x00\x04MQTT\x04\x02\xff\xff\x00\x0bhawser-tune";
/// CONNACK: accepted, no session.
const MQTT_CONNECTED: [u8; 4] = [0x20, 0x02, 0x00, 0x00];
/// PINGREQ and PINGRESP.
const MQTT_PING: [u8; 2] = [0xc0, 0x00];
/// See [`MQTT_PING`].
const MQTT_PONG: [u8; 2] = [0xd0, 0x00];

/// A path to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealPath {
    /// Its other end.
    pub target: SocketAddr,
    /// What that understands.
    pub speech: Speech,
    /// An answer that takes longer does not come.
    pub answer_within: Duration,
}

impl RealPath {
    /// Connects, is silent for `silence_s` seconds, and says something.
    ///
    /// # Errors
    /// The other end cannot be reached or does not answer before the silence: nothing was learnt of
    /// the path.
    pub fn bears(&self, silence_s: f64) -> io::Result<Tried> {
        let mut connection = TcpStream::connect_timeout(&self.target, CONNECT_WAIT)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(self.answer_within))?;
        self.greet(&mut connection)?;
        let quiet_since = Instant::now();
        thread::sleep(Duration::from_secs_f64(silence_s));
        // Sleeps overrun on busy machines; what counts is the silence the path saw.
        let silence_s = quiet_since.elapsed().as_secs_f64();
        let borne = self.beat(&mut connection).is_ok();
        Ok(Tried { silence_s, borne })
    }

    fn greet(&self, connection: &mut TcpStream) -> io::Result<()> {
        if self.speech == Speech::Mqtt {
            connection.write_all(MQTT_CONNECT)?;
            let mut answer = [0; MQTT_CONNECTED.len()];
            connection.read_exact(&mut answer)?;
            if answer != MQTT_CONNECTED {
                return Err(io::Error::other(format!("no MQTT login: answered {answer:02x?}")));
            }
        }
        self.beat(connection)
    }

    /// Says something and waits for the answer.
    fn beat(&self, connection: &mut TcpStream) -> io::Result<()> {
        let (said, expected) = match self.speech {
            Speech::Echo => ([b'h', b'\n'], [b'h', b'\n']),
            Speech::Mqtt => (MQTT_PING, MQTT_PONG),
        };
        connection.write_all(&said)?;
        let mut answer = [0; 2];
        connection.read_exact(&mut answer)?;
        if answer != expected {
            return Err(io::Error::other(format!("another answer than expected: {answer:02x?}")));
        }
        Ok(())
    }
}

/// Sends back what each of `connections` says, at most [`ECHOES_MAX`] of them at a time; `None`: for
/// ever.
///
/// # Errors
/// The listener broke.
pub fn echo(listener: &TcpListener, connections: Option<usize>) -> io::Result<()> {
    let mut serving: Vec<thread::JoinHandle<()>> = Vec::new();
    for connection in listener.incoming().take(connections.unwrap_or(usize::MAX)) {
        serving.retain(|thread| !thread.is_finished());
        let connection = connection?;
        if serving.len() < ECHOES_MAX {
            serving.push(thread::spawn(move || drop(send_back(connection))));
        }
    }
    serving.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn send_back(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(ECHO_SILENCE_MAX))?;
    connection.set_write_timeout(Some(CONNECT_WAIT))?;
    let mut bytes = [0; 256];
    loop {
        match connection.read(&mut bytes)? {
            0 => return Ok(()),
            length => connection.write_all(&bytes[..length])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(listener: &TcpListener, speech: Speech) -> RealPath {
        let target = listener.local_addr().unwrap();
        RealPath { target, speech, answer_within: Duration::from_secs(5) }
    }

    fn listener() -> TcpListener {
        // Below the ports that clients connect from.
        let ports = 18_300..18_400;
        let free = ports.map(|port| TcpListener::bind(("127.0.0.1", port))).find_map(Result::ok);
        free.expect("one of a hundred ports is free")
    }

    #[test]
    fn an_echo_bears_silence_and_the_silence_is_the_one_really_kept() {
        let listener = listener();
        let path = path(&listener, Speech::Echo);
        let server = thread::spawn(move || echo(&listener, Some(1)));
        let tried = path.bears(0.05).unwrap();
        assert!(tried.borne && tried.silence_s >= 0.05, "{tried:?}");
        server.join().unwrap().unwrap();
    }

    #[test]
    fn an_end_that_answers_before_the_silence_only_did_not_bear_it() {
        let listener = listener();
        let path = path(&listener, Speech::Mqtt);
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut connect = [0; MQTT_CONNECT.len()];
            connection.read_exact(&mut connect).unwrap();
            assert_eq!(connect, MQTT_CONNECT);
            connection.write_all(&MQTT_CONNECTED).unwrap();
            let mut ping = [0; 2];
            connection.read_exact(&mut ping).unwrap();
            assert_eq!(ping, MQTT_PING);
            connection.write_all(&MQTT_PONG).unwrap();
            // Then it has gone.
        });
        assert!(!path.bears(0.01).unwrap().borne);
        server.join().unwrap();
    }

    #[test]
    fn an_end_that_refuses_the_login_is_an_error_and_no_cut() {
        let listener = listener();
        let path = path(&listener, Speech::Mqtt);
        let server = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            connection.write_all(&[0x20, 0x02, 0x00, 0x05]).unwrap();
            let _ = connection.read(&mut [0; 64]);
        });
        let error = path.bears(0.01).unwrap_err().to_string();
        assert!(error.contains("no MQTT login"), "{error}");
        server.join().unwrap();
    }
}
