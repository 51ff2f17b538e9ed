//! Who of several controllers writes: the one that holds a Lease of the API server.
//!
//! A holder renews the Lease every [`RETRY`]. Whoever sees the same content for as long as the Lease says
//! may take it. Only the time between two looks at the own clock counts, never the clock of another
//! machine. A holder that could not renew for [`DEADLINE`] stops to lead, before anybody may take over.

mod keeper;

pub(crate) use keeper::{Keeper, Place, Told};

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long a Lease holds without being renewed.
const HOLDS: Duration = Duration::from_secs(10);
/// How long a holder leads without having renewed.
const DEADLINE: Duration = Duration::from_secs(7);
/// The time between two looks.
const RETRY: Duration = Duration::from_secs(2);

/// Until when we lead. Unlike a notice that we lead, it cannot be late: a process that stood still
/// does not believe what was true before.
#[derive(Clone, Debug)]
pub(crate) struct Leads(watch::Receiver<Option<Instant>>);

impl Leads {
    /// Whether we lead at this very moment.
    pub(crate) fn now(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Over when more is known: the Lease was renewed, or is lost. For ever pending when nobody keeps it.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// What becomes of `work` if we lead until it is over; `None`: it was dropped where it waited, because
    /// we lead no longer.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let leads = self.clone();
            let until = *self.0.borrow_and_update();
            let until = until.filter(|until| Instant::now() < *until)?;
            // Looked at again whenever the work goes on.
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

    /// As the keeper would tell.
    #[cfg(test)]
    pub(crate) fn of(until: watch::Receiver<Option<Instant>>) -> Self {
        Self(until)
    }
}

/// What a Lease says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Record {
    /// Its version, as the API server counts.
    version: String,
    /// Who has it; empty: nobody.
    holder: String,
    /// How long it holds.
    holds: Duration,
    /// How often it went to another.
    transitions: i32,
}

/// What is to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// There is no Lease: make one.
    Create,
    /// Write ourselves into it, in place of this version.
    Take(Record),
    /// Write that we still have it, in place of this version.
    Renew(Record),
    /// Somebody else has it.
    Wait,
}

/// Decides.
#[derive(Debug)]
struct Election {
    me: String,
    /// What the Lease says, and when this was first seen.
    seen: Option<(Record, Instant)>,
    /// When we began to write what the Lease says now.
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

    /// What is to be done, if the Lease says `record` now.
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

    /// A write that began at `began` was taken.
    fn wrote(&mut self, began: Instant) {
        self.renewed = Some(began);
    }

    /// Until when we lead; `None`: we do not.
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
            "it is not renewed yet"
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
        // Renewed once, then no longer.
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
