//! Leader election with a Lease of the API server. Only the leader writes.
//!
//! A leader renews the Lease every [`RETRY`]. A controller may take over a Lease that has not changed for the
//! duration that the Lease states. Each controller measures this duration with its own clock and ignores the
//! clocks of others. A leader that cannot renew the Lease for [`DEADLINE`] stops leading before another
//! controller may take over.

mod keeper;

pub(crate) use keeper::{Keeper, Leadership, Place};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Validity of a Lease without a renewal.
const HOLDS: Duration = Duration::from_secs(10);
/// Time after the last renewal at which a leader stops leading.
const DEADLINE: Duration = Duration::from_secs(7);
/// Interval of reading and renewing the Lease.
const RETRY: Duration = Duration::from_secs(2);

/// The time until which this controller leads. Users of this value compare the time with the clock, so that a
/// process that was suspended does not act on a stale notification.
#[derive(Clone, Debug)]
pub(crate) struct Leads(watch::Receiver<Option<Instant>>);

impl Leads {
    /// Whether this controller leads now.
    pub(crate) fn now(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until the Lease is renewed or lost. Never completes after the keeper is dropped.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Runs `work` while this controller leads. `None`: the leadership ended first, and `work` was dropped.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let leads = self.clone();
            let until = *self.0.borrow_and_update();
            let until = until.filter(|until| Instant::now() < *until)?;
            // The leadership is checked before each poll of `work`.
            let lost = std::future::poll_fn(|_| match leads.now() {
                true => std::task::Poll::Pending,
                false => std::task::Poll::Ready(()),
            });
            tokio::select! {
                biased;
                () = lost => return None,
                () = self.changed() => {}
                () = tokio::time::sleep_until(until) => {}
                done = &mut work => return Some(done),
            }
        }
    }

    /// Creates a value from the channel of a keeper.
    #[cfg(test)]
    pub(crate) fn of(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }
}

/// The content of a Lease.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Record {
    /// `metadata.resourceVersion` of the Lease.
    version: String,
    /// Identity of the holder. Empty: none.
    holder: String,
    /// Validity without a renewal.
    holds: Duration,
    /// Number of changes of the holder.
    transitions: i32,
}

/// The next action of leader election.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// Create the Lease.
    Create,
    /// Take over the Lease, if it still has this content.
    Take(Record),
    /// Renew the Lease, if it still has this content.
    Renew(Record),
    /// Wait: another controller holds the Lease.
    Wait,
}

/// The decisions of leader election, without requests to the API server.
#[derive(Debug)]
struct Election {
    me: String,
    /// Content of the Lease, and the time at which this content was first read.
    seen: Option<(Record, Instant)>,
    /// Time at which this controller started to write the current content. `None`: another controller wrote
    /// the content.
    renewed: Option<Instant>,
}

impl Election {
    fn new(me: String) -> Self {
        Self {
            me,
            seen: None,
            renewed: None,
        }
    }

    /// The next action for the content `record`.
    fn decide(&mut self, record: Option<Record>, now: Instant) -> Step {
        let Some(record) = record else {
            self.seen = None;
            self.renewed = None;
            return Step::Create;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == record => *since,
            _ => now,
        };
        self.seen = Some((record.clone(), since));
        if record.holder == self.me {
            return Step::Renew(record);
        }
        self.renewed = None;
        if record.holder.is_empty() || now >= since + record.holds {
            return Step::Take(record);
        }
        Step::Wait
    }

    /// Records a successful write that started at `began`.
    fn wrote(&mut self, began: Instant) {
        self.renewed = Some(began);
    }

    /// The time until which this controller leads. `None`: this controller is not the leader.
    fn leads_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + DEADLINE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(holder: &str, version: &str) -> Record {
        Record {
            version: version.to_owned(),
            holder: holder.to_owned(),
            holds: HOLDS,
            transitions: 0,
        }
    }

    #[test]
    fn a_lease_that_is_not_there_or_free_is_taken() {
        let mut me = Election::new("me".into());
        let now = Instant::now();

        assert_eq!(me.decide(None, now), Step::Create);
        let free = record("", "1");
        assert_eq!(me.decide(Some(free.clone()), now), Step::Take(free));
    }

    #[test]
    fn another_holder_is_waited_for_as_long_as_it_renews() {
        let mut me = Election::new("me".into());
        let mut now = Instant::now();
        for version in ["1", "2", "3"] {
            let theirs = record("other", version);
            assert_eq!(me.decide(Some(theirs.clone()), now), Step::Wait);
            now += HOLDS - RETRY;
            assert_eq!(me.decide(Some(theirs), now), Step::Wait);
            now += RETRY;
        }

        let theirs = record("other", "3");
        assert_eq!(me.decide(Some(theirs.clone()), now), Step::Take(theirs));
    }

    #[test]
    fn a_holder_leads_until_shortly_before_others_may_take_over() {
        let mut me = Election::new("me".into());
        let now = Instant::now();
        assert_eq!(me.leads_until(), None);

        me.decide(None, now);
        me.wrote(now);
        assert_eq!(me.leads_until(), Some(now + DEADLINE));
        assert!(DEADLINE < HOLDS);

        let mine = record("me", "1");
        assert_eq!(
            me.decide(Some(mine.clone()), now + RETRY),
            Step::Renew(mine)
        );
        assert_eq!(
            me.leads_until(),
            Some(now + DEADLINE),
            "the Lease is not renewed yet"
        );
        me.wrote(now + RETRY);
        assert_eq!(me.leads_until(), Some(now + RETRY + DEADLINE));
    }

    #[test]
    fn whoever_lost_the_lease_does_not_lead() {
        let mut me = Election::new("me".into());
        let now = Instant::now();
        me.decide(None, now);
        me.wrote(now);

        assert_eq!(
            me.decide(Some(record("other", "2")), now + RETRY),
            Step::Wait
        );

        assert_eq!(me.leads_until(), None);
    }

    #[tokio::test]
    async fn what_only_a_leader_may_do_ends_with_the_leadership() {
        const SOON: Duration = Duration::from_millis(400);
        let soon = || Some(Instant::now() + SOON);
        let (tell, until) = watch::channel(soon());
        let mut leads = Leads::of(until);

        assert_eq!(leads.during(std::future::ready(1)).await, Some(1));
        let began = Instant::now();
        // The leadership is renewed once.
        let renew = async {
            tokio::time::sleep(SOON / 2).await;
            tell.send_replace(soon());
            std::future::pending::<()>().await;
        };
        assert_eq!(leads.during(renew).await, None);
        assert!(began.elapsed() >= SOON / 2 + SOON);
        assert!(!leads.now());
        tell.send_replace(soon());
        let lose = async {
            tell.send_replace(None);
            tokio::task::yield_now().await;
        };
        assert_eq!(leads.during(lose).await, None);
        assert_eq!(leads.during(async { unreachable!() }).await, None::<()>);
    }

    #[test]
    fn somebody_takes_over_within_fifteen_seconds() {
        assert!(HOLDS + RETRY * 2 < Duration::from_secs(15));
    }
}
