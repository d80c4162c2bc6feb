//! `[tls]`, `[websocket]` and `[mqtt]`.

use super::{list, number, path, text};
use crate::{
    access::{Action, Effect, Rule, Rules},
    config::{
        CertificateFiles, CertificateSource, ClientAuth, ConfigError, KeyExchange, MqttConfig,
        TlsConfig, TlsVersion, WebSocketConfig,
        layers::{GivenRule, Layers},
    },
    limits::{NAME_BYTES_MAX, SERVER_REFERENCE_BYTES_MAX},
};

pub(super) fn tls(layers: &Layers) -> Result<TlsConfig, ConfigError> {
    let config = TlsConfig {
        certificates: certificates(layers),
        ticket_key_file: path(layers, "tls.ticket_key_file"),
        ticket_lifetime_s: number(layers, "tls.ticket_lifetime_s")?,
        min_version: match layers.choice("tls.min_version")? {
            "1.3" => TlsVersion::V13,
            _ => TlsVersion::V12,
        },
        key_exchange: match layers.choice("tls.key_exchange")? {
            "classical" => KeyExchange::Classical,
            _ => KeyExchange::Hybrid,
        },
        client_auth: match layers.choice("tls.client_auth")? {
            "optional" => ClientAuth::Optional,
            "required" => ClientAuth::Required,
            _ => ClientAuth::None,
        },
        client_ca: path(layers, "tls.client_ca"),
    };
    if config.client_auth != ClientAuth::None && config.client_ca.is_none() {
        let value = text(layers, "tls.client_auth").text;
        let reason = "needs `tls.client_ca`, the certificates of those who sign the clients'";
        return Err(ConfigError::refused("tls.client_auth", value, reason));
    }
    Ok(config)
}

/// A list in the file, unless a later layer names a directory.
fn certificates(layers: &Layers) -> CertificateSource {
    match path(layers, "tls.certificates") {
        Some(directory) => CertificateSource::Directory(directory),
        None if layers.certificates.is_empty() => CertificateSource::None,
        None => CertificateSource::Files(
            layers
                .certificates
                .iter()
                .map(|(chain, key)| CertificateFiles { chain: chain.into(), key: key.into() })
                .collect(),
        ),
    }
}

pub(super) fn websocket(layers: &Layers) -> Result<WebSocketConfig, ConfigError> {
    let origins = list(layers, "websocket.origins");
    for origin in &origins {
        // As browsers write it (RFC 6454, section 6.2): no path, no slash at the end.
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        let is_plain = |host: &str| {
            !host.is_empty()
                && !host.contains(['/', '?', '#', '@', ' '])
                && *host == host.to_lowercase()
        };
        if origin != "*" && !host.is_some_and(is_plain) {
            let allowed = "* or origins as browsers write them: https://chat.example.org, \
                           http://localhost:8080";
            return Err(ConfigError::new("websocket.origins", origin, allowed));
        }
    }
    let message_bytes_max = number(layers, "websocket.message_bytes_max")?;
    Ok(WebSocketConfig {
        // A frame beyond it would be refused as a message.
        frame_bytes_max: number::<u32>(layers, "websocket.frame_bytes_max")?.min(message_bytes_max),
        message_bytes_max,
        deflate: layers.boolean("websocket.deflate")?,
        deflate_takeover: layers.boolean("websocket.deflate_takeover")?,
        deflate_bytes_max: number(layers, "websocket.deflate_bytes_max")?,
        origins,
        echo: layers.boolean("websocket.echo")?,
    })
}

pub(super) fn mqtt(layers: &Layers) -> Result<MqttConfig, ConfigError> {
    let reference = text(layers, "mqtt.server_reference").text;
    if reference.len() > SERVER_REFERENCE_BYTES_MAX || reference.contains(char::is_control) {
        let allowed = format!(
            "up to {SERVER_REFERENCE_BYTES_MAX} bytes: HOST or HOST:PORT, several between spaces"
        );
        return Err(ConfigError::new("mqtt.server_reference", reference, allowed));
    }
    Ok(MqttConfig {
        receive_max: number(layers, "mqtt.receive_max")?,
        packet_bytes_max: number(layers, "mqtt.packet_bytes_max")?,
        topic_alias_max: number(layers, "mqtt.topic_alias_max")?,
        keep_alive_max_s: number(layers, "mqtt.keep_alive_max_s")?,
        session_expiry_max_s: number(layers, "mqtt.session_expiry_max_s")?,
        subscriptions_max: number(layers, "mqtt.subscriptions_max")?,
        server_reference: reference,
        rules: Rules::new(layers.rules.iter().map(rule).collect::<Result<_, _>>()?),
    })
}

fn rule(given: &GivenRule) -> Result<Rule, ConfigError> {
    let refuse = |key: &str, value: &str, allowed: &str| {
        Err(ConfigError::new(&format!("mqtt.rule.{key}"), value, allowed).at(&given.from))
    };
    let effect = match given.effect.as_str() {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        other => return refuse("effect", other, "allow, deny"),
    };
    let action = match given.action.as_str() {
        "publish" => Action::Publish,
        "subscribe" => Action::Subscribe,
        "both" => Action::Both,
        other => return refuse("action", other, "publish, subscribe, both"),
    };
    if let Some(user) = &given.user
        && !(1..=NAME_BYTES_MAX).contains(&user.len())
    {
        let allowed =
            format!("a user's name of 1 to {NAME_BYTES_MAX} bytes; without it: everybody");
        return refuse("user", user, &allowed);
    }
    Rule::new(effect, action, given.user.clone(), given.filter.clone())
        .or_else(|fault| refuse("filter", &given.filter, &fault.to_string()))
}
