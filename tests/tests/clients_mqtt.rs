//! Publish and subscribe with clients that other people wrote: mosquitto's, npm's, PyPI's.

use hawser_tests::{
    clients::{self, Ended},
    process::{Gateway, Setup},
};

fn mosquitto(program: &str, gateway: &Gateway, version: &str, rest: &[&str]) -> Ended {
    let address = gateway.mqtt();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = clients::program(program);
    command.args(["-h", &host, "-p", &port, "-V", version]).args(rest);
    clients::run(command)
}

#[test]
fn the_client_of_npm_finds_every_quality_retained_kept_shared_and_will() {
    let gateway = Setup::new().start();
    for version in ["4", "5"] {
        let mut command = clients::node("mqtt_npm.mjs");
        command.args([&format!("mqtt://{}", gateway.mqtt()), version]);
        clients::run(command).well();
    }
}

#[test]
fn the_client_of_pypi_finds_every_quality_kept_take_over_options_and_aliases() {
    let gateway = Setup::new().start();
    for version in ["3", "5"] {
        let address = gateway.mqtt();
        let mut command = clients::python("mqtt_paho.py");
        command.args([&address.ip().to_string(), &address.port().to_string(), version]);
        clients::run(command).well();
    }
}

#[test]
fn a_kept_session_gets_what_was_published_before_the_gateway_was_killed() {
    let mut gateway = Setup::new().start();
    for (version, expiry) in [("311", &[][..]), ("5", &["-x", "600"][..])] {
        let topic = format!("kept/{version}");
        let session = |rest: &[&str]| {
            let id = format!("device-{version}");
            let mut all = vec!["-c", "-i", &id, "-t", &topic, "-q", "2"];
            all.extend_from_slice(expiry);
            all.extend_from_slice(rest);
            all.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        // Subscribes and leaves: the session is kept. Its wait for messages ends with code 27.
        let first = session(&["-W", "1"]);
        let first: Vec<&str> = first.iter().map(String::as_str).collect();
        let ended = mosquitto("mosquitto_sub", &gateway, version, &first);
        assert_eq!(ended.code, Some(27), "{ended:#?}");
        for (number, quality) in [("one", "1"), ("two", "2"), ("three", "1"), ("four", "2")] {
            let message = ["-t", &topic, "-q", quality, "-m", number];
            mosquitto("mosquitto_pub", &gateway, version, &message).well();
        }
        gateway.kill();
        gateway.restart();
        let rest = session(&["-C", "4", "-W", "60", "-F", "%q %p"]);
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let came = mosquitto("mosquitto_sub", &gateway, version, &rest).well();
        let mut came: Vec<&str> = came.lines().collect();
        // The norm keeps the order of messages of one quality.
        came.sort_by_key(|line| line.as_bytes()[0]);
        assert_eq!(came, ["1 one", "1 three", "2 two", "2 four"], "MQTT {version}");
    }
}

#[test]
fn a_retained_message_outlives_a_kill_and_goes_when_it_is_cleared() {
    let mut gateway = Setup::new().start();
    for version in ["311", "5"] {
        let topic = format!("state/{version}/lamp");
        let filter = format!("state/{version}/+");
        let set = ["-t", &topic, "-q", "1", "-r", "-m", "on"];
        mosquitto("mosquitto_pub", &gateway, version, &set).well();
        gateway.kill();
        gateway.restart();
        let get = ["-t", &filter, "-q", "1", "-C", "1", "-W", "60", "-F", "%r %t %p"];
        let came = mosquitto("mosquitto_sub", &gateway, version, &get).well();
        assert_eq!(came.trim(), format!("1 {topic} on"));
        mosquitto("mosquitto_pub", &gateway, version, &["-t", &topic, "-q", "1", "-r", "-n"])
            .well();
        let none = mosquitto("mosquitto_sub", &gateway, version, &["-t", &filter, "-W", "1"]);
        assert_eq!((none.code, none.out.as_str()), (Some(27), ""), "MQTT {version}");
    }
}
