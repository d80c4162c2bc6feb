//! Who a client is and how long it may be silent: from its hello to the link frame that asks its
//! host, and once more when a host has lost its directory.

use super::*;

impl Sessions {
    pub(super) fn on_hello(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        hello: &Hello<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if !(hello.version_min..=hello.version_max).contains(&limits::PROTOCOL_VERSION) {
            let text = format!(
                "client speaks versions {} to {}, this server {}",
                hello.version_min,
                hello.version_max,
                limits::PROTOCOL_VERSION
            );
            return Err(Farewell::saying(code::VERSION_UNSUPPORTED, text));
        }
        if hello.incarnation == 0 {
            return Err(Farewell::saying(code::BAD_REQUEST, "incarnation must not be 0"));
        }
        let (identity, epoch) = self.identify(hello, outlet.now)?;
        if !hello.resume_token.is_empty() {
            outlet.metrics.resumes.add(1);
        }
        check_name("user", identity.user.as_bytes())?;
        check_name("device", identity.device.as_bytes())?;
        if outlet.marks.crowded || !outlet.uplinks.has_room() {
            return Err(Farewell::saying(code::OVERLOADED, "too many logins at once")
                .retry_after(limits::OVERLOADED_RETRY_MS));
        }
        let Some(keys) = self.settings.keys.space() else {
            return Err(later((code::RECOVERING, limits::ROUTER_RETRY_MS)));
        };
        let (user, check) = keys.user(identity.realm, identity.user.as_bytes());
        if let Some(refusal) = outlet.uplinks.refuse_login(&user) {
            return Err(later(refusal));
        }
        connection.user = user;
        connection.device = keys.device(&user, identity.device.as_bytes());
        connection.realm = identity.realm;
        connection.epoch = epoch;
        connection.set_incarnation(hello.incarnation);
        connection.class = hello.class as u8;
        connection.expires_s = u32::try_from(identity.expires_ms / 1000).unwrap_or(u32::MAX);
        let (user_name, device_name) = (identity.user.as_bytes(), identity.device.as_bytes());
        connection.names = self.names.keep(user_name, device_name);
        connection.user_bytes = user_name.len() as u8;
        connection.device_bytes = device_name.len() as u8;
        self.expect_within(connection, u32::from(hello.heartbeat_s) * 1000);
        connection.state = State::LoggingIn;
        link::Login {
            connection: handle.to_u64(),
            user,
            device: connection.device,
            check,
            realm: identity.realm,
            epoch,
            incarnation: hello.incarnation,
            cursor_plus_one: hello.cursor.map_or(0, |cursor| cursor.saturating_add(1)),
            rewind: hello.rewind,
            announce: false,
            user_name: identity.user.as_bytes(),
            device_name: identity.device.as_bytes(),
        }
        .put(outlet.uplinks.to(&user));
        Ok(())
    }

    /// Who it is: by resume token if it has one, else by what the configuration asks for.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn identify(&self, hello: &Hello<'_>, now: Now) -> Result<(Identity, u32), Farewell> {
        if !hello.resume_token.is_empty() {
            let claims = self.settings.resume.open(now.wall_ms, hello.resume_token)?;
            let identity = Identity {
                realm: claims.realm,
                user: claims.user,
                device: claims.device,
                expires_ms: claims.login_expires_ms,
            };
            return Ok((identity, claims.epoch));
        }
        let authenticator = &self.settings.authenticator;
        let token = match (hello.token, &self.lent_token) {
            ("", Some(token)) => token,
            (token, _) => token,
        };
        let identity = authenticator.authenticate(
            now.wall_ms,
            hello.realm,
            hello.user,
            hello.device,
            token,
        )?;
        Ok((identity, 0))
    }

    /// Sets how long silence is allowed after an announced interval; 0: the class's.
    pub fn expect_within(&self, connection: &mut Connection, next_ms: u32) {
        let (min, max) = self.settings.heartbeat_range_ms;
        let interval_ms = match next_ms {
            0 => u32::from(self.heartbeat_s(connection.class)) * 1000,
            announced => announced.clamp(min, max),
        };
        let ticks = u64::from(interval_ms.saturating_add(self.settings.grace_ms)) * 1000 / TICK_US;
        connection.silence = u16::try_from(ticks).unwrap_or(u16::MAX);
    }

    /// So long a client may be late with its sign of life.
    pub fn grace_ticks(&self) -> Tick {
        (u64::from(self.settings.grace_ms) * 1000 / TICK_US) as Tick
    }

    /// The interval behind the silence allowed, seconds.
    pub(super) fn heartbeat_of(&self, connection: &Connection) -> u16 {
        let silence_ms = u64::from(connection.silence) * TICK_US / 1000;
        (silence_ms.saturating_sub(u64::from(self.settings.grace_ms)) / 1000) as u16
    }

    pub(super) fn heartbeat_s(&self, class: u8) -> u16 {
        self.settings.heartbeat_s[usize::from(class) % self.settings.heartbeat_s.len()]
    }

    /// Announces a session again to a host that lost its directory.
    pub fn announce(&self, connection: &Connection, handle: Handle, uplinks: &mut Uplinks) {
        let user_name = self.names.user(connection);
        let Some(keys) = self.settings.keys.space() else { return };
        let (_, check) = keys.user(connection.realm, user_name);
        link::Login {
            connection: handle.to_u64(),
            user: connection.user,
            device: connection.device,
            check,
            realm: connection.realm,
            epoch: connection.epoch,
            incarnation: connection.incarnation(),
            cursor_plus_one: 0,
            rewind: false,
            announce: true,
            user_name,
            device_name: self.names.device(connection),
        }
        .put(uplinks.to(&connection.user));
    }
}

fn check_name(what: &str, name: &[u8]) -> Result<(), Farewell> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let text = format!("{what} name has {} bytes, allowed are 1 to {NAME_BYTES_MAX}", name.len());
    Err(Farewell::saying(code::BAD_NAME, text))
}
