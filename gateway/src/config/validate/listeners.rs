//! `[[listener]]` and the flags that stand for one each.

use std::net::SocketAddr;

use super::{LISTENERS_MAX, address};
use crate::{
    config::{
        ConfigError,
        layers::{Given, GivenListener, Layers},
        settings::LISTENERS,
    },
    listener::{Kind, ListenerSettings, Network},
};

pub(super) fn listeners(layers: &Layers) -> Result<Vec<ListenerSettings>, ConfigError> {
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    for given in given(layers) {
        let from = given.from.as_str();
        let text = Given { text: given.address.clone(), from: given.from.clone() };
        let kind = kind(&given.kind).map_err(|error| error.at(from))?;
        let Some(at) = address("listener.address", &text)? else { continue };
        if at.port() != 0 && listeners.iter().any(|other| other.address == at) {
            let reason = "named by two listeners; allowed: each address once";
            return Err(ConfigError::refused("listener.address", at.to_string(), reason).at(from));
        }
        let GivenListener { tls, proxy, .. } = given;
        listeners.push(ListenerSettings { address: at, kind, tls, proxy });
    }
    if listeners.is_empty() || listeners.len() > LISTENERS_MAX {
        let allowed = format!("1 to {LISTENERS_MAX} listeners that are not off");
        return Err(ConfigError::new("listener", listeners.len().to_string(), allowed));
    }
    Ok(listeners)
}

fn kind(name: &str) -> Result<Kind, ConfigError> {
    let known = Kind::ALL.map(Kind::name);
    Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| ConfigError::new("listener.kind", name, known.join(", ")))
}

/// The file's, or the shipped ones. A flag stands for all of its kind.
fn given(layers: &Layers) -> Vec<GivenListener> {
    let shipped = || {
        let one = |(kind, address): &(&str, &str)| plain(kind, address, "default");
        LISTENERS.iter().map(one).collect()
    };
    let mut given = layers.listeners.clone().unwrap_or_else(shipped);
    for (kind, _) in LISTENERS {
        if let Some(flag) = layers.addresses.get(kind) {
            // In the place of the first, so that the order of kinds stays.
            let at = given.iter().position(|one| one.kind == *kind).unwrap_or(given.len());
            given.retain(|one| one.kind != *kind);
            given.insert(at.min(given.len()), plain(kind, &flag.text, &flag.from));
        }
    }
    given
}

fn plain(kind: &str, address: &str, from: &str) -> GivenListener {
    GivenListener {
        kind: kind.to_owned(),
        address: address.to_owned(),
        tls: false,
        proxy: false,
        from: from.to_owned(),
    }
}

/// `[proxy] from`.
pub(super) fn proxies(layers: &Layers) -> Result<Vec<Network>, ConfigError> {
    const KEY: &str = "proxy.from";
    super::list(layers, KEY)
        .iter()
        .map(|text| text.parse().map_err(|fault| ConfigError::new(KEY, text, fault)))
        .collect()
}

/// What listeners want of other sections, and what nobody wants of them.
pub(super) fn judge(
    listeners: &[ListenerSettings],
    has_certificates: bool,
    proxies: &[Network],
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let find = |wanted: fn(&ListenerSettings) -> bool| {
        listeners.iter().find(|one| wanted(one)).map(|one| one.address)
    };
    let refuse = |key: &str, address: SocketAddr, lacks: &str| {
        let reason = format!("the listener {address} needs {lacks}");
        Err(ConfigError::refused(key, "true", reason))
    };
    match find(|one| one.tls) {
        Some(address) if !has_certificates => {
            return refuse("listener.tls", address, "a certificate (`tls.certificates`)");
        }
        None if has_certificates => warnings
            .push("`tls.certificates` are not used: no listener has `tls = true`".to_owned()),
        _ => {}
    }
    match find(|one| one.proxy) {
        Some(address) if proxies.is_empty() => {
            let lacks = "the addresses of its proxies (`proxy.from`), since others are refused";
            return refuse("listener.proxy", address, lacks);
        }
        None if !proxies.is_empty() => {
            warnings.push("`proxy.from` is not used: no listener has `proxy = true`".to_owned());
        }
        _ => {}
    }
    Ok(())
}
