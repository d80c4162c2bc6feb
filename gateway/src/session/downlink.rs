//! From the hosts to the client: link frames in, native frames out.

use super::*;

/// Pages under way at one time: one per host or router, and as many again that lost links have cut
/// off; the oldest of those goes first.
const PAGES_UNDER_WAY_MAX: usize = 2 * limits::ROUTERS_MAX;

impl Sessions {
    /// A link frame for one connection. `Announce` is the worker's affair and never comes here.
    ///
    /// # Errors
    /// The farewell to say before closing.
    pub fn on_downlink(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        downlink: &Downlink<'_>,
        outlet: &mut Outlet<'_>,
    ) -> Result<(), Farewell> {
        if matches!(connection.state, State::Leaving | State::Closing) {
            return Ok(());
        }
        match downlink {
            Downlink::LoggedIn(logged_in) if logged_in.announced => Ok(()),
            Downlink::LoggedIn(logged_in) => {
                self.welcome(connection, handle, logged_in, outlet);
                Ok(())
            }
            Downlink::LoginRefused(refused) => {
                Err(Farewell::of(refused.code).retry_after(refused.retry_after_ms))
            }
            Downlink::Accepted(accepted) => {
                connection.requests = connection.requests.saturating_sub(1);
                outlet.metrics.frames_out.at(FrameKind::Acknowledge).add(1);
                let acknowledge = Acknowledge {
                    client_seq: accepted.client_seq,
                    sequence: accepted.sequence,
                    time_ms: accepted.time_ms,
                };
                outlet.say(connection, handle, |queue| {
                    self.encoder.acknowledge(queue, accepted.channel, 0, &acknowledge);
                });
                Ok(())
            }
            Downlink::Refused(refused) => {
                connection.requests = connection.requests.saturating_sub(1);
                let (code, retry_after_ms) = (refused.code, refused.retry_after_ms);
                self.refuse(
                    connection,
                    handle,
                    refused.channel,
                    refused.client_seq,
                    code,
                    retry_after_ms,
                    outlet,
                );
                Ok(())
            }
            Downlink::Deliver(deliver) => {
                self.deliver(connection, handle, deliver, outlet);
                Ok(())
            }
            Downlink::Head(head) => {
                connection.flags.set(Flag::Stalled, false);
                let head = Head { head: head.head };
                outlet.say(connection, handle, |queue| self.encoder.head(queue, 0, 0, &head));
                Ok(())
            }
            Downlink::PageStart(start) => {
                self.begin_page(handle, start);
                Ok(())
            }
            Downlink::PageEnd(end) => {
                self.end_page(connection, handle, end, outlet);
                Ok(())
            }
            Downlink::Kick(kick) => Err(Farewell::of(kick.code)),
            // To a slow reader it is not worth its memory: the next one makes it good.
            Downlink::PeerReceipt(_) if outlet.waiting(connection) > outlet.marks.push => Ok(()),
            Downlink::PeerReceipt(receipt) => {
                let receipt = Receipt {
                    conversation: text(receipt.peer_name),
                    what: receipt.what,
                    sequence: receipt.sequence,
                };
                outlet.say(connection, handle, |queue| self.encoder.receipt(queue, 0, 0, &receipt));
                Ok(())
            }
            Downlink::Restored(_)
            | Downlink::Marked(_)
            | Downlink::Attached(_)
            | Downlink::Subscribed(_)
            | Downlink::Unsubscribed(_)
            | Downlink::Routed(_)
            | Downlink::Published(_)
            | Downlink::Released(_)
            | Downlink::Topic(_)
            | Downlink::RetainedEnd(_)
            | Downlink::QueueEntry(_)
            | Downlink::Announce(_) => Ok(()),
        }
    }

    fn welcome(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        logged_in: &link::LoggedIn,
        outlet: &mut Outlet<'_>,
    ) {
        connection.state = State::Open;
        connection.epoch = logged_in.epoch;
        outlet.metrics.logins.add(1);
        let login_expires_ms = match connection.expires_s {
            u32::MAX => u64::MAX,
            seconds => u64::from(seconds) * 1000,
        };
        let settings = &self.settings;
        let identity = Identity {
            realm: connection.realm,
            user: text(self.names.user(connection)).to_owned(),
            device: text(self.names.device(connection)).to_owned(),
            expires_ms: login_expires_ms,
        };
        let token = settings.resume.seal(&ResumeClaims::of(
            &identity,
            connection.epoch,
            outlet.now.wall_ms,
            settings.resume_lifetime_s,
        ));
        let welcome = Welcome {
            version: limits::PROTOCOL_VERSION,
            server_time_ms: outlet.now.wall_ms,
            heartbeat_s: self.heartbeat_of(connection),
            resume_token: &token,
            head: logged_in.head,
            cursor: logged_in.cursor,
            floor: logged_in.floor,
            frame_bytes_max: settings.frames.body_bytes_max,
            requests_max: settings.requests_max,
            compression: 0,
        };
        outlet.say(connection, handle, |queue| self.encoder.welcome(queue, 0, 0, &welcome));
    }

    fn deliver(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        deliver: &link::Deliver<'_>,
        outlet: &mut Outlet<'_>,
    ) {
        if !deliver.page && outlet.waiting(connection) > outlet.marks.push {
            // The entry stays in the mailbox; the client will be told the head and read it there.
            if !connection.flags.has(Flag::Stalled) {
                connection.flags.set(Flag::Stalled, true);
                outlet.metrics.outbound_stalls.add(1);
                link::Stall {
                    connection: handle.to_u64(),
                    user: connection.user,
                    device: connection.device,
                }
                .put(outlet.uplinks.to(&connection.user));
            }
            return;
        }
        let page = deliver.page.then(|| self.pages.iter_mut().find(|page| page.handle == handle));
        let (channel, flags) = match page.flatten() {
            Some(page) => {
                page.count += 1;
                (page.channel, FLAG_PAGE)
            }
            None => (0, 0),
        };
        outlet.metrics.frames_out.at(FrameKind::Notify).add(1);
        outlet.say(connection, handle, |queue| {
            self.encoder.deliver(queue, channel, flags, deliver);
        });
    }

    fn begin_page(&mut self, handle: Handle, start: &link::PageStart) {
        self.pages.retain(|page| page.handle != handle);
        if self.pages.len() >= PAGES_UNDER_WAY_MAX {
            self.pages.remove(0);
        }
        let (channel, request) = (start.channel, start.request);
        self.pages.push(PageUnderWay { handle, channel, request, count: 0 });
    }

    fn end_page(
        &mut self,
        connection: &mut Connection,
        handle: Handle,
        end: &link::PageEnd,
        outlet: &mut Outlet<'_>,
    ) {
        connection.page_since = 0;
        let Some(at) = self.pages.iter().position(|page| page.handle == handle) else { return };
        let page = self.pages.remove(at);
        if end.code != 0 {
            let retry_after_ms = end.retry_after_ms;
            self.refuse(connection, handle, page.channel, 0, end.code, retry_after_ms, outlet);
            return;
        }
        let answer = Page {
            request: page.request,
            count: page.count,
            head: end.head,
            cursor: end.cursor,
            floor: end.floor,
            more: end.more,
        };
        outlet.say(connection, handle, |queue| {
            self.encoder.page(queue, page.channel, 0, &answer);
        });
    }
}
