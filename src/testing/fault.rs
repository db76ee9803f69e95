//! Faults that hit a request, or the events of a watch, between a client and the server.

use std::time::Duration;

use super::verb::Verb;

/// Something that goes wrong on a [`Link`](super::Link).
///
/// By default a fault hits every request of the link until [`Link::heal`](super::Link::heal).
/// [`on`](Self::on), [`skip`](Self::skip) and [`times`](Self::times) restrict it.
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected into a link"]
pub struct Fault {
    effect: Effect,
    verbs: Option<Vec<Verb>>,
    skip: usize,
    times: Option<usize>,
    retry_after: Option<Duration>,
}

/// The effect of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Hang,
    Refuse,
    Reset,
    LoseReply,
    DelayBefore(Duration),
    DelayAfter(Duration),
    Slow(Duration),
    Status(u16),
    CommitThenStatus(u16),
    Garbage,
    Replay,
    DropEvents,
    DelayEvents(Duration),
}

/// The faults of one link, in the order of injection.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

/// The fault that hits a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub effect: Effect,
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// The request never reaches the server. The client gets no response, not even after the link is healed. Open watches
    /// go on: to cut a client off, use [`Link::cut`](super::Link::cut).
    pub fn hang() -> Self {
        Self::new(Effect::Hang)
    }

    /// The connection is refused. Nothing is committed.
    pub fn refuse() -> Self {
        Self::new(Effect::Refuse)
    }

    /// The request is committed, then the connection is reset.
    pub fn reset() -> Self {
        Self::new(Effect::Reset)
    }

    /// The request is committed, but the response never arrives.
    pub fn lose_reply() -> Self {
        Self::new(Effect::LoseReply)
    }

    /// The request takes `delay` to reach the server. The server commits it even if the client has given up by then.
    pub fn delay_before(delay: Duration) -> Self {
        Self::new(Effect::DelayBefore(delay))
    }

    /// The request is committed at once, but the response takes `delay`.
    pub fn delay_after(delay: Duration) -> Self {
        Self::new(Effect::DelayAfter(delay))
    }

    /// The server takes `delay` to process the request, as when it waits for a slow admission webhook. If the client gives
    /// up before, the server cancels the request, and nothing is committed.
    pub fn slow(delay: Duration) -> Self {
        Self::new(Effect::Slow(delay))
    }

    /// The response is the HTTP status `code` and the `Status` object that Kubernetes sends with it. Nothing is
    /// committed.
    ///
    /// 403 is a denial by RBAC.
    pub fn status(code: u16) -> Self {
        Self::new(Effect::Status(code))
    }

    /// The request is committed, but the response is an error, as when etcd is slow (500, 504).
    pub fn commit_then_status(code: u16) -> Self {
        Self::new(Effect::CommitThenStatus(code))
    }

    /// The request is committed, but the response is a 200 without JSON, as another server might send it.
    #[doc(hidden)]
    pub fn garbage() -> Self {
        Self::new(Effect::Garbage)
    }

    /// The server processes the request twice, as when a connection breaks and the transport sends it again. The client
    /// gets the second response.
    #[doc(hidden)]
    pub fn replay() -> Self {
        Self::new(Effect::Replay)
    }

    /// Events of the link's open and new watches are lost; the watches stay open. Here [`skip`](Self::skip) and
    /// [`times`](Self::times) count events, and the verbs have no effect.
    pub fn drop_events() -> Self {
        Self::new(Effect::DropEvents)
    }

    /// Events of the link's watches arrive `delay` after the change: the watch is stale. Here [`skip`](Self::skip) and
    /// [`times`](Self::times) count events, and the verbs have no effect.
    pub fn delay_events(delay: Duration) -> Self {
        Self::new(Effect::DelayEvents(delay))
    }

    /// Hits only requests of this kind. The default is all.
    pub fn on(self, verb: Verb) -> Self {
        self.on_any(&[verb])
    }

    /// Hits only requests of these kinds. The default is all.
    pub fn on_any(mut self, verbs: &[Verb]) -> Self {
        self.verbs = Some(verbs.to_vec());
        self
    }

    /// Does not hit the first `n` matching requests; faults injected later may hit them. The default is 0.
    pub fn skip(mut self, n: usize) -> Self {
        self.skip = n;
        self
    }

    /// Hits `n` requests only. The default is all until the link is healed.
    pub fn times(mut self, n: usize) -> Self {
        self.times = Some(n);
        self
    }

    /// Adds a `Retry-After` header and `details.retryAfterSeconds`, in whole seconds, to the status of
    /// [`status`](Self::status) and [`commit_then_status`](Self::commit_then_status).
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    fn new(effect: Effect) -> Self {
        Self { effect, verbs: None, skip: 0, times: None, retry_after: None }
    }

    /// Whether this fault hits now. Counts the call.
    fn applies(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        match &mut self.times {
            None => true,
            Some(0) => false,
            Some(n) => {
                *n -= 1;
                true
            }
        }
    }
}

impl Effect {
    /// Whether the effect hits events, not requests.
    fn is_of_events(self) -> bool {
        matches!(self, Self::DropEvents | Self::DelayEvents(_))
    }
}

impl Faults {
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn heal(&mut self) {
        self.0.clear();
    }

    /// The fault that hits the next request.
    pub(crate) fn next_for_request(&mut self, verb: Verb) -> Option<Hit> {
        let matches = |f: &Fault| f.verbs.as_ref().is_none_or(|verbs| verbs.contains(&verb));
        let mut faults = self.0.iter_mut().filter(|f| !f.effect.is_of_events());
        let fault = faults.find_map(|f| (matches(f) && f.applies()).then_some(f))?;
        Some(Hit { effect: fault.effect, retry_after: fault.retry_after })
    }

    /// The effect of the fault that hits the next event.
    pub(crate) fn next_for_event(&mut self) -> Option<Effect> {
        let mut faults = self.0.iter_mut().filter(|f| f.effect.is_of_events());
        faults.find_map(|f| f.applies().then_some(f.effect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_apply_in_the_order_of_injection() {
        let mut faults = Faults::default();
        faults.inject(Fault::refuse().on(Verb::Get).skip(1).times(1));
        faults.inject(Fault::reset().on_any(&[Verb::Get, Verb::Apply]));
        let mut next = |verb| faults.next_for_request(verb).map(|s| s.effect);
        assert_eq!(next(Verb::Get), Some(Effect::Reset));
        assert_eq!(next(Verb::Get), Some(Effect::Refuse));
        assert_eq!(next(Verb::Get), Some(Effect::Reset));
        assert_eq!(next(Verb::Apply), Some(Effect::Reset));
        assert_eq!(next(Verb::Update), None);
    }
}
