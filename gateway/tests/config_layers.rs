//! Configuration: layers, ranges, refusals, and the example file.

#![allow(clippy::unwrap_used)] // the lint takes shared test code for ordinary code

use std::{io, path::Path};

use hawser_gateway::{
    access::Who,
    config::{
        self, AuthKind, CertificateSource, ClientAuth, Command, Config, Invocation, KeyExchange,
        LogCommand, Machine, Stop, TlsVersion, WebSocketConfig,
    },
    limits,
    listener::Kind,
    mqtt::MqttSettings,
};

const MACHINE: Machine = Machine { cores: 2, descriptors_max: 20_000 };

fn invoke(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Invocation, Stop> {
    let mut arguments = vec!["hawser-gateway".into()];
    if !file.is_empty() {
        arguments.extend(["--config", "hawser.toml"].map(Into::into));
    }
    arguments.extend(flags.iter().map(Into::into));
    let variables = variables.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let read = |path: &Path| match path.to_str() {
        Some("hawser.toml") => Ok(file.to_owned()),
        Some("key") => Ok("0123456789abcdef0123456789abcdef\n".to_owned()),
        Some("short") => Ok("0123\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    config::load(arguments, variables, MACHINE, &read)
}

#[track_caller]
fn good(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Config {
    match invoke(file, variables, flags) {
        Ok(Invocation::Run(config)) => *config,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    match invoke(file, variables, flags) {
        Err(Stop::Config(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn no_flag_is_needed_and_everything_is_on_this_machine_only() {
    let config = good("", &[], &[]);
    let listeners: Vec<String> = config
        .listeners
        .iter()
        .inspect(|listener| assert!(!listener.tls && !listener.proxy))
        .map(|listener| format!("{} {}", listener.kind, listener.address))
        .collect();
    assert_eq!(
        listeners,
        ["native 127.0.0.1:7900", "websocket 127.0.0.1:7901", "mqtt 127.0.0.1:1883"]
    );
    assert_eq!(config.tls.certificates, CertificateSource::None);
    assert_eq!(MqttSettings::of(&config.mqtt), MqttSettings::shipped());
    assert_eq!(config.websocket, WebSocketConfig::SHIPPED);
    assert!(!config.limits.core_dumps);
    assert_eq!(config.admin.address, Some("127.0.0.1:7980".parse().unwrap()));
    assert_eq!(config.store.data_dir, Path::new("./hawser-data"));
    assert_eq!(config.auth.kind, AuthKind::None);
    assert_eq!(config.store.retention_hours, 72);
    assert_eq!((config.limits.workers, config.limits.max_connections), (2, 39_800));
    assert_eq!((config.router.hosts, config.store.lanes), (2, 1));
    assert_eq!(config.limits.connections_per_worker(), limits::TABLE_SLOTS_USABLE);
}

#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = "[store]\ndata_dir = \"/file\"\n";
    let variable = [("HAWSER_STORE_DATA_DIR", "/variable")];
    let dir = |config: Config| config.store.data_dir.display().to_string();
    assert_eq!(dir(good("", &[], &[])), "./hawser-data");
    assert_eq!(dir(good(file, &[], &[])), "/file");
    assert_eq!(dir(good(file, &variable, &[])), "/variable");
    assert_eq!(dir(good(file, &variable, &["--data-dir", "/flag"])), "/flag");
    assert_eq!(dir(good(file, &[("HAWSER_DATA_DIR", "/short")], &[])), "/short");

    let file = "[[listener]]\nkind = \"native\"\naddress = \"127.0.0.1:1\"\n\
                [[listener]]\nkind = \"native\"\naddress = \"[::1]:2\"\n";
    assert_eq!(good(file, &[], &[]).listeners.len(), 2);
    let one = good(file, &[("HAWSER_NATIVE", "127.0.0.1:3")], &["--native", "127.0.0.1:4"]);
    assert_eq!(one.listeners.len(), 1);
    assert_eq!(one.listeners[0].address.port(), 4);
}

#[test]
fn the_file_may_be_named_by_a_variable_and_must_exist() {
    let read = |_: &Path| Ok("[log]\nlevel = \"warn\"\n".to_owned());
    let named = [("HAWSER_CONFIG".to_owned(), "anywhere.toml".to_owned())];
    match config::load(["hawser-gateway".into()], named, MACHINE, &read) {
        Ok(Invocation::Run(config)) => assert_eq!(config.log.level, "warn"),
        other => panic!("{other:?}"),
    }
    assert_parts(&refused("", &[], &["--config", "missing.toml"]), &["missing.toml", "config"]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let text = refused("[limits]\nmax_conections = 5\n", &[], &[]);
    assert_parts(&text, &["limits.max_conections", "hawser.toml", "`limits.max_connections`"]);
    assert_parts(&refused("[limit]\nworkers = 5\n", &[], &[]), &["`limit`", "`limits`"]);
    let text = refused("[[listener]]\nkind = \"native\"\nadress = \"127.0.0.1:1\"\n", &[], &[]);
    assert_parts(&text, &["listener.adress", "`listener.address`"]);
    let text = refused("[store]\nqqqqqqqqqqqqqqqqq = 5\n", &[], &[]);
    assert!(!text.contains("nearest"), "{text}");
    assert!(matches!(invoke("", &[], &["--max-conections", "5"]), Err(Stop::Usage(_))));
}

#[test]
fn a_foreign_variable_is_a_warning_since_orchestrators_make_them() {
    let config = good("", &[("HAWSER_PORT", "tcp://10.0.0.1:7900"), ("HAWSER_WORKRS", "3")], &[]);
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert_parts(&config.warnings[1], &["HAWSER_WORKRS", "HAWSER_WORKERS"]);
}

#[test]
fn a_refused_value_comes_with_its_key_its_source_and_what_is_allowed() {
    for (file, parts) in [
        (
            "[limits]\nframe_body_bytes_max = 2000000\n",
            ["limits.frame_body_bytes_max", "2000000", "1024 to 1048576 bytes"],
        ),
        ("[limits]\nrequests_max = 0\n", ["limits.requests_max", "\"0\"", "1 to 1024"]),
        ("[limits]\nworkers = -1\n", ["limits.workers", "-1", "1 to 256"]),
        ("[limits]\nworkers = \"two\"\n", ["limits.workers", "two", "1 to 256"]),
        ("[store]\nwrite = \"fast\"\n", ["store.write", "fast", "auto, direct, sync"]),
        ("[store]\ndata_dir = 5\n", ["store.data_dir", "5", "a text"]),
        ("[store]\nsegment_bytes = 5000000\n", ["store.segment_bytes", "5000000", "4096"]),
        ("[admin]\naddress = \"localhost\"\n", ["admin.address", "localhost", "IP:PORT"]),
        ("[heartbeat]\nweb_s = 1\n", ["heartbeat.web_s", "\"1\"", "5 to 3600 s"]),
        ("[auth]\njwt_issuer = \"x\"\n", ["auth.jwt_issuer", "x", "a list"]),
        ("[log]\nlevel = \"loud\"\n", ["log.level", "loud", "error, warn, info"]),
        ("limits = 5\n", ["`limits`", "5", "[section]"]),
        ("[limits\n", ["`config`", "hawser.toml", "line 1"]),
    ] {
        let text = refused(file, &[], &[]);
        assert_parts(&text, &parts);
        assert_parts(&text, &["hawser.toml"]);
    }
    let text = refused("", &[("HAWSER_LIMITS_WORKERS", "many")], &[]);
    assert_parts(&text, &["limits.workers", "many", "environment HAWSER_LIMITS_WORKERS"]);
    let text = refused("", &[], &["--max-connections", "0"]);
    assert_parts(&text, &["limits.max_connections", "--max-connections", "1 to 5094400"]);
}

#[test]
fn settings_that_exclude_each_other_are_refused() {
    let text = refused("[heartbeat]\nclient_min_s = 700\n", &[], &[]);
    assert_parts(&text, &["heartbeat.client_min_s", "700", "heartbeat.client_max_s"]);
    let text = refused("[router]\nhosts = 3\n", &[], &[]);
    assert_parts(&text, &["router.hosts", "3", "1 to 2"]);
    let text = refused("[store]\nlanes = 2\n[router]\nhosts = 1\n", &[], &[]);
    assert_parts(&text, &["store.lanes", "2", "router.hosts"]);
    let twice = "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"native\"\n".repeat(2);
    assert_parts(&refused(&twice, &[], &[]), &["127.0.0.1:1", "two listeners"]);
    let none = ["--native", "off", "--websocket", "off", "--mqtt", "off"];
    assert_parts(&refused("", &[], &none), &["listener", "1 to 16"]);
}

#[test]
fn tables_follow_the_connections_asked_for() {
    let million = good("", &[], &["--max-connections", "1000000"]);
    assert_eq!((million.limits.workers, million.limits.tables, million.router.hosts), (2, 26, 2));
    let few = good("", &[], &["--max-connections", "10"]).limits;
    assert_eq!((few.workers, few.tables), (2, 1));
    assert_eq!(good("", &[], &["--workers", "5"]).limits.max_connections, 5 * 19_900);
    assert_eq!(good("", &[], &["--workers", "1"]).router.hosts, 1);
    let file = "[limits]\ntables = 25\nworkers = 2\nmax_connections = 1000000\n";
    assert_parts(&refused(file, &[], &[]), &["limits.tables", "\"25\"", "1000000", "26 to 128"]);
    let many = good("", &[], &["--workers", "51", "--max-connections", "1000000"]).limits;
    assert_eq!((many.workers, many.tables), (51, 1));
}

#[test]
fn a_lower_descriptor_limit_makes_smaller_tables_and_more_of_them() {
    let machine = Machine { cores: 2, descriptors_max: 4096 };
    let arguments = ["hawser-gateway", "--max-connections", "19900"].map(Into::into);
    let read = |_: &Path| Err(io::ErrorKind::NotFound.into());
    match config::load(arguments, [], machine, &read) {
        Ok(Invocation::Run(config)) => {
            let limits = config.limits;
            assert_eq!((limits.workers, limits.tables, limits.table_slots), (2, 3, 4096));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_built_yet_is_refused() {
    let file = "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"native\"\nclass = \"bot\"\n";
    assert_parts(&refused(file, &[], &[]), &["listener.class", "not built yet"]);
    assert!(matches!(invoke("", &[], &["--takeover"]), Err(Stop::Usage(_))));
}

#[test]
fn a_flag_stands_for_all_listeners_of_its_kind_and_off_for_none() {
    let kinds = |config: Config| {
        let listeners = config.listeners.iter();
        listeners.map(|one| format!("{} {}", one.kind, one.address.port())).collect::<Vec<_>>()
    };
    let quiet = ["--websocket", "off", "--mqtt", "off"];
    assert_eq!(kinds(good("", &[], &quiet)), ["native 7900"]);
    let moved = ["--mqtt", "127.0.0.1:2883", "--native", "off"];
    assert_eq!(kinds(good("", &[], &moved)), ["websocket 7901", "mqtt 2883"]);
    let variables = [("HAWSER_WEBSOCKET", "off"), ("HAWSER_MQTT", "[::1]:9")];
    assert_eq!(kinds(good("", &variables, &[])), ["native 7900", "mqtt 9"]);
    // A file that names listeners names all of them.
    let file = "[[listener]]\nkind = \"mqtt\"\naddress = \"127.0.0.1:1\"\n\
                [[listener]]\nkind = \"any\"\naddress = \"127.0.0.1:2\"\n\
                [[listener]]\nkind = \"mqtt\"\naddress = \"127.0.0.1:3\"\n";
    assert_eq!(kinds(good(file, &[], &[])), ["mqtt 1", "any 2", "mqtt 3"]);
    let flags = ["--mqtt", "127.0.0.1:4", "--websocket", "127.0.0.1:5"];
    assert_eq!(kinds(good(file, &[], &flags)), ["mqtt 4", "any 2", "websocket 5"]);
    assert_eq!(kinds(good(file, &[], &["--mqtt", "off"])), ["any 2"]);
}

#[test]
fn a_listener_says_what_stands_below_its_protocol() {
    let listener = "[[listener]]\nkind = \"any\"\naddress = \"127.0.0.1:1\"\ntls = true\n\
                    proxy = true\n";
    let file = format!(
        "{listener}[tls]\ncertificates = \"/certs\"\n\
         [proxy]\nfrom = [\"10.0.0.0/8\", \"2001:db8::7\"]\n"
    );
    let config = good(&file, &[], &[]);
    let [one] = config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!((one.kind, one.tls, one.proxy), (Kind::Any, true, true));
    let proxies: Vec<String> = config.proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "2001:db8::7/128"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);

    let text = refused(listener, &[], &[]);
    assert_parts(&text, &["listener.tls", "127.0.0.1:1", "tls.certificates"]);
    let file = format!("{listener}[tls]\ncertificates = \"/certs\"\n");
    assert_parts(&refused(&file, &[], &[]), &["listener.proxy", "127.0.0.1:1", "proxy.from"]);
    for (line, parts) in [
        ("tls = 1", ["listener.tls", "\"1\"", "true or false"]),
        ("proxy = \"yes\"", ["listener.proxy", "yes", "true or false"]),
        ("kind = \"http\"", ["listener.kind", "http", "native, websocket, mqtt, any"]),
        ("tsl = true", ["listener.tsl", "unknown", "`listener.tls`"]),
    ] {
        let kind = if line.starts_with("kind") { "" } else { "kind = \"native\"\n" };
        let file = format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{kind}{line}\n");
        let text = refused(&file, &[], &[]);
        assert_parts(&text, &parts);
        assert_parts(&text, &["hawser.toml"]);
    }
    let file = "[tls]\ncertificates = \"/certs\"\n[proxy]\nfrom = [\"10.0.0.1\"]\n";
    let warnings = good(file, &[], &[]).warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_parts(&warnings.join("\n"), &["tls.certificates", "tls = true", "proxy.from"]);
}

#[test]
fn certificates_are_a_directory_or_a_list() {
    let listener = "[[listener]]\nkind = \"mqtt\"\naddress = \"127.0.0.1:1\"\ntls = true\n";
    let file = format!(
        "{listener}[tls]\nmin_version = \"1.3\"\nkey_exchange = \"classical\"\n\
         client_auth = \"required\"\nclient_ca = \"ca.pem\"\nticket_key_file = \"t\"\n\
         certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}, \
         {{ chain = \"b.pem\", key = \"b.key\" }}]\n"
    );
    let tls = good(&file, &[], &[]).tls;
    let CertificateSource::Files(files) = &tls.certificates else { panic!("{tls:?}") };
    assert_eq!(files.len(), 2);
    assert_eq!(
        (files[1].chain.as_path(), files[1].key.as_path()),
        ("b.pem".as_ref(), "b.key".as_ref())
    );
    assert_eq!((tls.min_version, tls.key_exchange), (TlsVersion::V13, KeyExchange::Classical));
    assert_eq!(tls.client_auth, ClientAuth::Required);
    assert_eq!(tls.client_ca.as_deref(), Some("ca.pem".as_ref()));
    assert_eq!(tls.ticket_key_file.as_deref(), Some("t".as_ref()));
    // A later layer has directories only.
    let variable = [("HAWSER_TLS_CERTIFICATES", "/certs")];
    let tls = good(&file, &variable, &[]).tls;
    assert_eq!(tls.certificates, CertificateSource::Directory("/certs".into()));

    for (line, parts) in [
        ("certificates = [\"a.pem\"]", ["tls.certificates", "a.pem", "a directory, or a list"]),
        ("certificates = [{ chain = \"a\" }]", ["tls.certificates.key", "nothing", "PEM"]),
        ("certificates = [{ cert = \"a\" }]", ["tls.certificates.cert", "unknown", "hawser.toml"]),
        ("certificates = 5", ["tls.certificates", "5", "a text"]),
        ("min_version = \"1.1\"", ["tls.min_version", "1.1", "1.2, 1.3"]),
        ("min_version = 1.3", ["tls.min_version", "1.3", "1.2, 1.3"]),
        ("key_exchange = \"rsa\"", ["tls.key_exchange", "rsa", "hybrid, classical"]),
        ("client_auth = \"yes\"", ["tls.client_auth", "yes", "none, optional, required"]),
        ("client_auth = \"optional\"", ["tls.client_auth", "optional", "tls.client_ca"]),
    ] {
        assert_parts(&refused(&format!("[tls]\n{line}\n"), &[], &[]), &parts);
    }
}

#[test]
fn networks_of_proxies_and_origins_are_refused_with_what_they_look_like() {
    for (line, parts) in [
        ("[proxy]\nfrom = [\"balancer\"]", ["proxy.from", "balancer", "10.0.0.0/8"]),
        ("[proxy]\nfrom = [\"10.0.0.0/40\"]", ["proxy.from", "10.0.0.0/40", "up to 32 bits"]),
        ("[proxy]\nfrom = [\"10.0.0.1/8\"]", ["proxy.from", "10.0.0.1/8", "below the prefix"]),
        ("[proxy]\nfrom = \"10.0.0.1\"", ["proxy.from", "10.0.0.1", "a list"]),
        (
            "[websocket]\norigins = [\"chat.example.org\"]",
            ["websocket.origins", "chat.example.org", "https://chat.example.org"],
        ),
        (
            "[websocket]\norigins = [\"https://a.org/\"]",
            ["websocket.origins", "https://a.org/", "as browsers write them"],
        ),
        (
            "[websocket]\norigins = [\"https://A.org\"]",
            ["websocket.origins", "https://A.org", "as browsers write them"],
        ),
        ("[websocket]\necho = \"on\"", ["websocket.echo", "on", "true or false"]),
        ("[mqtt]\nserver_reference = \"a\\n\"", ["mqtt.server_reference", "a", "HOST:PORT"]),
        ("[mqtt]\nreceive_max = 0", ["mqtt.receive_max", "\"0\"", "1 to 1024"]),
    ] {
        let text = refused(&format!("{line}\n"), &[], &[]);
        assert_parts(&text, &parts);
        assert_parts(&text, &["hawser.toml"]);
    }
    let file =
        "[websocket]\norigins = [\"https://a.org\", \"http://localhost:8080\"]\necho = true\n";
    let small = good("[websocket]\nmessage_bytes_max = 2000\n", &[], &[]).websocket;
    assert_eq!((small.message_bytes_max, small.frame_bytes_max), (2000, 2000));
    let websocket = good(file, &[], &[]).websocket;
    assert_eq!(websocket.origins, ["https://a.org", "http://localhost:8080"]);
    assert!(websocket.echo);
    let variables = [("HAWSER_WEBSOCKET_ECHO", "true"), ("HAWSER_WEBSOCKET_ORIGINS", "*")];
    let websocket = good("", &variables, &[]).websocket;
    assert!(websocket.echo && websocket.origins == ["*"]);
    let text = refused("", &[("HAWSER_WEBSOCKET_ECHO", "on")], &[]);
    assert_parts(&text, &["websocket.echo", "on", "true or false", "HAWSER_WEBSOCKET_ECHO"]);
}

#[test]
fn rules_of_topics_stand_in_the_order_of_the_file() {
    let file = "[[mqtt.rule]]\neffect = \"allow\"\naction = \"both\"\nfilter = \"home/%u/#\"\n\
                [[mqtt.rule]]\neffect = \"deny\"\naction = \"publish\"\nuser = \"bob\"\nfilter = \"#\"\n";
    let rules = good(file, &[], &[]).mqtt.rules;
    let bob = Who { user: "bob", device: "phone" };
    assert!(rules.may_publish(bob, "home/bob/lamp") && !rules.may_publish(bob, "home/ann/lamp"));
    assert!(rules.may_publish(Who { user: "ann", ..bob }, "anything"));

    let complete = [
        ("effect", "effect = \"allow\""),
        ("action", "action = \"both\""),
        ("filter", "filter = \"#\""),
    ];
    for (without, _) in complete {
        let lines = complete.iter().filter(|(key, _)| *key != without).map(|(_, line)| *line);
        let file = format!("[[mqtt.rule]]\n{}\n", lines.collect::<Vec<_>>().join("\n"));
        let key = format!("mqtt.rule.{without}");
        assert_parts(&refused(&file, &[], &[]), &[key.as_str(), "nothing", "hawser.toml"]);
    }
    for (line, parts) in [
        ("effect = \"permit\"", ["mqtt.rule.effect", "permit", "allow, deny"]),
        ("action = \"read\"", ["mqtt.rule.action", "read", "publish, subscribe, both"]),
        ("filter = \"a/#/b\"", ["mqtt.rule.filter", "a/#/b", "%u"]),
        ("user = \"\"", ["mqtt.rule.user", "\"\"", "1 to 64 bytes"]),
        ("topic = \"a\"", ["mqtt.rule.topic", "unknown", "hawser.toml"]),
    ] {
        let (name, _) = line.split_once(' ').unwrap();
        let others = complete.iter().filter(|(key, _)| *key != name).map(|(_, line)| *line);
        let file = format!("[[mqtt.rule]]\n{line}\n{}\n", others.collect::<Vec<_>>().join("\n"));
        assert_parts(&refused(&file, &[], &[]), &parts);
    }
    assert_parts(&refused("[mqtt]\nrule = 5\n", &[], &[]), &["mqtt.rule", "[[mqtt.rule]]"]);
}

#[test]
fn routers_are_a_list_of_addresses_each_named_once_and_none_of_our_own() {
    let two = ["--router", "127.0.0.1:7910,127.0.0.1:7911"];
    let addresses: Vec<String> =
        good("", &[], &two).router.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["127.0.0.1:7910", "127.0.0.1:7911"]);
    let file = "[router]\nendpoints = [\"127.0.0.1:7910\", \"[::1]:7911\"]\nname = \"g1\"\n";
    let config = good(file, &[], &[]).router;
    assert_eq!((config.endpoints.len(), config.name.as_str()), (2, "g1"));
    assert!(good("[router]\nendpoints = \"embedded\"\n", &[], &[]).router.endpoints.is_empty());

    for (list, part) in [
        ("127.0.0.1:7910,127.0.0.1:7910", "named twice"),
        ("127.0.0.1:7910,", "embedded, or the routers' link addresses"),
        ("localhost:7910", "maybe 127.0.0.1:7910"),
        ("127.0.0.1:0", "embedded, or"),
        ("127.0.0.1:7900", "this gateway itself"),
        ("127.0.0.1:7980", "this gateway itself"),
    ] {
        let text = refused("", &[], &["--router", list]);
        assert_parts(&text, &["router.endpoints", part]);
    }
    let text = refused("[router]\nhosts = 1\n", &[], &two);
    assert_parts(&text, &["router.hosts", "embedded"]);
    // Lanes belong to the embedded tier and do not matter here.
    good("[store]\nlanes = 3\n", &[], &two);
}

#[test]
fn a_router_on_another_machine_needs_a_secret_which_is_not_written_into_the_file() {
    let far = ["--router", "192.0.2.1:7910"];
    let text = refused("", &[], &far);
    assert_parts(
        &text,
        &["router.endpoints", "192.0.2.1:7910", "router.secret_file", "--insecure"],
    );
    good("", &[], &[far[0], far[1], "--insecure"]);

    let text = refused("[router]\nsecret = \"a long and quite secret word\"\n", &[], &far);
    assert_parts(&text, &["router.secret", "router.secret_file", "0600"]);
    assert!(!text.contains("quite secret"), "{text}");
    let text = refused("[router]\nsecret_file = \"absent\"\n", &[], &far);
    assert_parts(&text, &["router.secret_file", "absent", "no such file"]);
}

#[test]
fn open_doors_are_refused_unless_insecure_is_said() {
    for address in ["0.0.0.0:7900", "[::]:7900", "192.0.2.1:7900", "[::ffff:192.0.2.1]:7900"] {
        let text = refused("", &[], &["--native", address]);
        assert_parts(&text, &["listener.address", "auth.kind", "--insecure"]);
        good("", &[], &["--native", address, "--insecure"]);
        good("", &[("HAWSER_INSECURE", "true")], &["--native", address]);
    }
    for address in ["127.8.9.10:7900", "[::1]:7900", "[::ffff:127.0.0.1]:7900"] {
        good("", &[], &["--native", address]);
    }
    for flag in ["--websocket", "--mqtt"] {
        let text = refused("", &[], &[flag, "0.0.0.0:7999"]);
        assert_parts(&text, &["listener.address", "0.0.0.0:7999", "auth.kind", "--insecure"]);
        good("", &[], &[flag, "0.0.0.0:7999", "--insecure"]);
    }
    let any = "[[listener]]\nkind = \"any\"\naddress = \"0.0.0.0:7999\"\n";
    assert_parts(&refused(any, &[], &[]), &["listener.address", "0.0.0.0:7999", "--insecure"]);
    let tokens = "[auth]\nkind = \"token\"\n[auth.tokens]\n\"token-of-ann-00001\" = \"ann\"\n";
    good(tokens, &[], &["--native", "0.0.0.0:7900"]);

    let text = refused("", &[], &["--admin", "0.0.0.0:7980"]);
    assert_parts(&text, &["admin.address", "admin.key_file", "--insecure"]);
    good("[admin]\nkey_file = \"key\"\n", &[], &["--admin", "0.0.0.0:7980"]);
    let text = refused("[admin]\nkey_file = \"short\"\n", &[], &[]);
    assert_parts(&text, &["admin.key_file", "short", "hawser.toml", "16 bytes or more"]);
    good("", &[], &["--admin", "0.0.0.0:7980", "--insecure"]);
    assert_eq!(good("", &[], &["--admin", "off"]).admin.address, None);
}

#[test]
fn kinds_of_authentication_want_their_keys() {
    assert_parts(&refused("", &[], &["--auth", "jwt"]), &["auth.jwt_key_file"]);
    assert_parts(&refused("", &[], &["--auth", "token"]), &["auth.token_file"]);
    assert_parts(&refused("", &[], &["--auth", "ldap"]), &["ldap", "none, token, jwt"]);
    let file = "[auth]\njwt_key_file = \"key\"\njwt_audience = [\"a\", \"b\"]\n";
    let AuthKind::Jwt(jwt) = good(file, &[], &["--auth", "jwt"]).auth.kind else { panic!() };
    assert_eq!(jwt.audience, ["a", "b"]);
    let variable = [("HAWSER_AUTH_JWT_AUDIENCE", "x, y")];
    let AuthKind::Jwt(jwt) = good(file, &variable, &["--auth", "jwt"]).auth.kind else { panic!() };
    assert_eq!(jwt.audience, ["x", "y"]);
}

#[test]
fn what_a_new_user_types_wrong_is_answered_with_what_to_type() {
    for (address, meant) in [
        ("7900", "maybe 127.0.0.1:7900"),
        (":7900", "maybe 127.0.0.1:7900"),
        ("localhost:7900", "maybe 127.0.0.1:7900"),
        ("example.org:7900", "IP:PORT"),
        ("127.0.0.1", "IP:PORT"),
    ] {
        let text = refused("", &[], &["--native", address]);
        assert_parts(&text, &["listener.address", address, "--native", meant]);
    }
    let text = refused("", &[], &["--native", "127.0.0.1:9000", "--admin", "127.0.0.1:9000"]);
    assert_parts(&text, &["admin.address", "127.0.0.1:9000", "--admin", "a listener has"]);
    assert_parts(&refused("", &[], &["--config", "missing.toml"]), &["there is no such file"]);
    for flags in [&["start"][..], &["serve"]] {
        let Err(Stop::Usage(text)) = invoke("", &[], flags) else { panic!("{flags:?}") };
        assert_parts(&text, &["give no command", "--config FILE"]);
    }
    let Err(Stop::Usage(text)) = invoke("", &[], &["--log-level", "debug"]) else { panic!() };
    assert_parts(&text, &["--log-level", "--config FILE", "HAWSER_LOG_LEVEL"]);
    assert!(matches!(invoke("", &[], &["help"]), Err(Stop::Shown(_))));
}

#[test]
fn check_config_log_commands_help_and_version_are_told_apart() {
    assert!(matches!(invoke("", &[], &["--check-config"]), Ok(Invocation::Check(_))));
    let bad = invoke("", &[], &["--check-config", "--workers", "0"]);
    assert!(matches!(bad, Err(Stop::Config(_))));
    let dir = "data".into();
    assert_eq!(
        invoke("", &[], &["log", "verify", "data"]),
        Ok(Invocation::Command(Command::Log(LogCommand::Verify { dir })))
    );
    let (dir, to) = ("data".into(), "copy".into());
    assert_eq!(
        invoke("", &[], &["log", "backup", "data", "--to", "copy"]),
        Ok(Invocation::Command(Command::Log(LogCommand::Backup { dir, to })))
    );
    assert!(matches!(invoke("", &[], &["log"]), Err(Stop::Usage(_))));
    for flag in ["--help", "--version"] {
        assert!(matches!(invoke("", &[], &[flag]), Err(Stop::Shown(_))), "{flag}");
    }
}

/// The example with the comment signs of its settings (`# key = value`) taken off.
fn example() -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("hawser.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let all = text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>();
    (text.clone(), all.join("\n"))
}

#[test]
fn every_line_of_the_example_is_the_shipped_value() {
    let (text, _) = example();
    assert_eq!(good(&text, &[], &[]), good("", &[], &[]));
}

#[test]
fn the_example_behind_a_balancer_is_valid_and_what_its_words_say() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/hawser-behind-a-balancer.toml");
    let text = std::fs::read_to_string(path).unwrap();
    // The only files that are read while a configuration is checked.
    let text = text
        .replace("/etc/hawser/admin.key", "key")
        .replace("/etc/hawser/jwt.pem", "key")
        .replace("ES256", "HS256");
    let config = good(&text, &[], &[]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let behind = config.listeners.iter().filter(|listener| listener.tls && listener.proxy);
    assert_eq!((config.listeners.len(), behind.count()), (4, 3));
    let lamp = Who { user: "ann", device: "lamp" };
    let rules = &config.mqtt.rules;
    assert!(rules.may_publish(lamp, "devices/lamp/state") && rules.may_publish(lamp, "other"));
    assert!(!rules.may_publish(lamp, "devices/door/state") && !rules.may_subscribe(lamp, "#"));
}

#[test]
fn the_example_shows_every_setting() {
    let (_, all) = example();
    let table: toml::Table = all.parse().unwrap();
    for key in config::keys() {
        let (section, name) = key.split_once('.').unwrap();
        let shown = table.get(section).and_then(|section| section.get(name));
        assert!(shown.is_some(), "{key} is not in the example");
    }
    good(&all, &[], &[]);
}
