// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Questions to other hosts, and their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use vnet_core::{Mac, VnetId, abi};
use vnet_netlink::{Answer, Client, Endpoint, Error, Event, Monitor, Probe};

/// The MAC that asks whether a vnet is there.
pub(crate) const PRESENCE: Mac = Mac::from_bytes([0; 6]);
/// How often is asked where no answer came.
const TRIES: usize = 2;
/// Vnets that are asked for at once: hosts answer a limited number of questions in a second.
const BATCH: usize = 32;

/// Who asks and hears answers.
pub(crate) trait Asker {
    fn ask(&mut self, probe: &Probe) -> Result<(), Error>;
    /// The next answer; none if there is none until then.
    fn answer(&mut self, until: Instant) -> Result<Option<Answer>, Error>;
}

/// Asks through whoever carries the vnets.
pub(crate) struct Wire {
    client: Client,
    events: Receiver<Result<Event, Error>>,
}

impl Wire {
    /// Listens from now on.
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, Error> {
        let mut monitor = Monitor::open(endpoint)?;
        let client = Client::open(endpoint)?;
        let (sender, events) = mpsc::channel();
        // A monitor waits without a limit. The thread ends with the program, or when nobody listens.
        thread::spawn(move || {
            loop {
                let event = monitor.next_event();
                let last = !matches!(event, Ok(_) | Err(Error::Overrun));
                if sender.send(event).is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { client, events })
    }
}

impl Asker for Wire {
    fn ask(&mut self, probe: &Probe) -> Result<(), Error> {
        self.client.probe(probe)
    }

    fn answer(&mut self, until: Instant) -> Result<Option<Answer>, Error> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Ok(Event::Probe(answer))) => return Ok(Some(answer)),
                // What was lost was perhaps no answer; if it was, it is asked again.
                Ok(Ok(_) | Err(Error::Overrun)) => {}
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Malformed("notifications have ended"));
                }
            }
        }
    }
}

/// Asks; false if the question could not be sent on its way, for whatever reason. That one host cannot be asked says nothing of others.
pub(crate) fn try_ask(asker: &mut dyn Asker, probe: &Probe) -> Result<bool, Error> {
    match asker.ask(probe) {
        Ok(()) => Ok(true),
        Err(error) => match error.errno() {
            // Not allowed to ask, or nobody to ask through.
            None | Some(Errno::EPERM | Errno::EACCES) => Err(error),
            Some(_) => Ok(false),
        },
    }
}

/// A question whether a vnet is there.
pub(crate) fn presence(net: VnetId, addr: Option<IpAddr>) -> Probe {
    Probe {
        addr,
        ..Probe::new(net, PRESENCE)
    }
}

/// When which host answered for which vnet: the time it took.
pub(crate) type Times = BTreeMap<(VnetId, IpAddr), Duration>;

/// Hears answers until all of these have answered, or the time is over.
fn hear(
    asker: &mut dyn Asker,
    asked: Instant,
    patience: Duration,
    missing: &mut BTreeSet<(VnetId, IpAddr)>,
    times: &mut Times,
    to_the_end: bool,
) -> Result<(), Error> {
    let until = asked + patience;
    while to_the_end || !missing.is_empty() {
        let Some(answer) = asker.answer(until)? else {
            break;
        };
        if let (Some(addr), true) = (answer.addr, answer.mac == PRESENCE) {
            missing.remove(&(answer.net, addr));
            times
                .entry((answer.net, addr))
                .or_insert_with(|| asked.elapsed());
        }
    }
    Ok(())
}

/// Asks the group and the peers for all vnets. Waits longer only if one of the hosts that are known does not answer.
pub(crate) fn ask_all(
    asker: &mut dyn Asker,
    nets: &[VnetId],
    known: &BTreeSet<IpAddr>,
    patience: Duration,
) -> Result<Times, Error> {
    let mut times = Times::new();
    for nets in nets.chunks(BATCH) {
        let every = |net: &VnetId| known.iter().map(|addr| (*net, *addr)).collect::<Vec<_>>();
        let mut missing: BTreeSet<_> = nets.iter().flat_map(every).collect();
        for _ in 0..TRIES {
            let asked = Instant::now();
            for net in nets {
                try_ask(asker, &presence(*net, None))?;
            }
            hear(asker, asked, patience, &mut missing, &mut times, true)?;
            if missing.is_empty() && !times.is_empty() {
                break;
            }
        }
    }
    Ok(times)
}

/// Asks hosts one by one, each for some vnets.
pub(crate) fn ask_each(
    asker: &mut dyn Asker,
    questions: &BTreeSet<(VnetId, IpAddr)>,
    patience: Duration,
) -> Result<Times, Error> {
    let mut times = Times::new();
    let questions: Vec<_> = questions.iter().copied().collect();
    for batch in questions.chunks(BATCH) {
        let mut missing: BTreeSet<_> = batch.iter().copied().collect();
        for _ in 0..TRIES {
            let asked = Instant::now();
            for (net, addr) in missing.clone() {
                try_ask(asker, &presence(net, Some(addr)))?;
            }
            hear(asker, asked, patience, &mut missing, &mut times, false)?;
            if missing.is_empty() {
                break;
            }
        }
    }
    Ok(times)
}

/// Asks hosts for MACs that should be there. Which hosts answered for one of theirs.
pub(crate) fn ask_machines(
    asker: &mut dyn Asker,
    questions: &BTreeSet<(VnetId, Mac, IpAddr)>,
    patience: Duration,
) -> Result<BTreeSet<IpAddr>, Error> {
    let mut answered = BTreeSet::new();
    let questions: Vec<_> = questions.iter().copied().collect();
    for batch in questions.chunks(BATCH) {
        let mut missing: BTreeSet<_> = batch.iter().copied().collect();
        for _ in 0..TRIES {
            missing.retain(|(.., addr)| !answered.contains(addr));
            for (net, mac, addr) in &missing {
                let probe = Probe {
                    addr: Some(*addr),
                    ..Probe::new(*net, *mac)
                };
                try_ask(asker, &probe)?;
            }
            let until = Instant::now() + patience;
            while !missing.is_empty() {
                let Some(answer) = asker.answer(until)? else {
                    break;
                };
                let Some(addr) = answer.addr else { continue };
                if missing.contains(&(answer.net, answer.mac, addr)) {
                    answered.insert(addr);
                    missing.retain(|(.., other)| *other != addr);
                }
            }
        }
    }
    Ok(answered)
}

/// The largest UDP payload, in bytes and not more than `needed`, that a host answers.
pub(crate) fn sweep(
    asker: &mut dyn Asker,
    net: VnetId,
    addr: IpAddr,
    needed: u32,
    patience: Duration,
) -> Result<u32, Error> {
    let (least, most) = abi::PROBE_SIZE_RANGE;
    let needed = needed.clamp(least, most);
    if fits(asker, net, addr, needed, patience)? {
        return Ok(needed);
    }
    // The question without a size was answered; it has this one.
    let (mut good, mut bad) = (least, needed);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(asker, net, addr, middle, patience)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

fn fits(
    asker: &mut dyn Asker,
    net: VnetId,
    addr: IpAddr,
    size: u32,
    patience: Duration,
) -> Result<bool, Error> {
    let probe = Probe {
        size: Some(size),
        ..presence(net, Some(addr))
    };
    for _ in 0..TRIES {
        let asked = Instant::now();
        if !try_ask(asker, &probe)? {
            // It does not fit the device; the kernel may have learned that from the try before.
            continue;
        }
        let mut missing = BTreeSet::from([(net, addr)]);
        let mut times = Times::new();
        hear(asker, asked, patience, &mut missing, &mut times, false)?;
        if missing.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::VecDeque;
    use vnet_netlink::Refusal;

    /// Hosts that answer at once, or never.
    #[derive(Default)]
    pub(crate) struct Fake {
        /// Who has which vnet, how large a payload gets through, and whether multicast does.
        pub(crate) hosts: BTreeMap<(VnetId, IpAddr), (u32, bool)>,
        /// MACs and who has them.
        pub(crate) macs: BTreeMap<(VnetId, Mac), IpAddr>,
        /// The next questions are lost.
        pub(crate) lost: usize,
        /// Larger payloads are refused here.
        pub(crate) local: Option<u32>,
        pub(crate) asked: Vec<Probe>,
        answers: VecDeque<Answer>,
    }

    pub(crate) fn refusal(errno: Errno) -> Error {
        Error::Refused(Refusal {
            errno,
            text: None,
            missing: None,
            offset: None,
            attribute: None,
        })
    }

    impl Asker for Fake {
        fn ask(&mut self, probe: &Probe) -> Result<(), Error> {
            self.asked.push(*probe);
            let size = probe.size.unwrap_or(abi::PROBE_SIZE_RANGE.0);
            if self.local.is_some_and(|local| size > local) {
                return Err(refusal(Errno::EMSGSIZE));
            }
            if self.lost > 0 {
                self.lost -= 1;
                return Ok(());
            }
            let asked = |addr: &&IpAddr| probe.addr.is_none_or(|one| one == **addr);
            let found = self.macs.get(&(probe.net, probe.mac));
            if let Some(addr) = found.filter(asked) {
                self.answers.push_back(Answer {
                    addr: Some(*addr),
                    ..Answer::new(probe.net, probe.mac)
                });
            }
            for ((net, addr), (most, multicast)) in &self.hosts {
                let asked = match probe.addr {
                    Some(one) => one == *addr,
                    None => *multicast,
                };
                if *net == probe.net && asked && size <= *most && probe.mac == PRESENCE {
                    self.answers.push_back(Answer {
                        addr: Some(*addr),
                        ..Answer::new(probe.net, probe.mac)
                    });
                }
            }
            Ok(())
        }

        fn answer(&mut self, _: Instant) -> Result<Option<Answer>, Error> {
            Ok(self.answers.pop_front())
        }
    }

    pub(crate) fn id(text: &str) -> VnetId {
        text.parse().expect("an id")
    }

    pub(crate) fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn all_and_each() {
        let (five, six) = (id("5"), id("6"));
        let (two, three) = (addr("192.0.2.2"), addr("192.0.2.3"));
        let mut fake = Fake::default();
        fake.hosts.insert((five, two), (1472, true));
        fake.hosts.insert((five, three), (1472, false));
        fake.hosts.insert((six, two), (1472, true));
        let known = BTreeSet::from([two]);
        let times = ask_all(&mut fake, &[five, six], &known, LONG).expect("answers");
        let found: Vec<_> = times.keys().copied().collect();
        assert_eq!(found, [(five, two), (six, two)]);
        assert_eq!(fake.asked.len(), 2, "all that are known answered");

        fake.lost = 1;
        let questions = BTreeSet::from([(five, three), (six, three)]);
        let times = ask_each(&mut fake, &questions, LONG).expect("answers");
        let found: Vec<_> = times.keys().copied().collect();
        assert_eq!(found, [(five, three)], "asked again when it was lost");
        assert_eq!(fake.asked.len(), 2 + 4);
    }

    #[test]
    fn who_answers_for_a_machine() {
        let five = id("5");
        let [two, three] = ["192.0.2.2", "192.0.2.3"].map(addr);
        let [here, there] = [2, 3].map(|last| Mac::from_bytes([2, 0, 0, 0, 0, last]));
        let mut fake = Fake {
            lost: 2,
            ..Fake::default()
        };
        fake.macs.insert((five, here), two);
        let questions =
            BTreeSet::from([(five, here, two), (five, there, two), (five, there, three)]);
        let answered = ask_machines(&mut fake, &questions, LONG).expect("answers");
        assert_eq!(
            answered,
            BTreeSet::from([two]),
            "asked again when it was lost"
        );
        // The answer of another host is none of this one.
        fake.macs.insert((five, there), two);
        let questions = BTreeSet::from([(five, there, three)]);
        let answered = ask_machines(&mut fake, &questions, LONG).expect("no answer");
        assert!(answered.is_empty());
    }

    #[test]
    fn a_host_that_is_known_is_asked_for_twice() {
        let mut fake = Fake::default();
        let known = BTreeSet::from([addr("192.0.2.9")]);
        let times = ask_all(&mut fake, &[id("5")], &known, LONG).expect("no answers");
        assert!(times.is_empty());
        assert_eq!(fake.asked.len(), TRIES);
    }

    #[test]
    fn the_largest_that_passes_is_found() {
        let (net, host) = (id("5"), addr("192.0.2.2"));
        for (most, local, found) in [
            (65507, None, 1472),
            (1472, None, 1472),
            (1471, None, 1471),
            (1272, None, 1272),
            (1272, Some(1000), 1000),
            (44, None, 44),
            (43, None, 43),
        ] {
            let mut fake = Fake {
                local,
                ..Fake::default()
            };
            fake.hosts.insert((net, host), (most, true));
            let size = sweep(&mut fake, net, host, 1472, LONG).expect("a size");
            assert_eq!(size, found, "{most} {local:?}");
            assert!(fake.asked.len() <= 2 * 12, "{}", fake.asked.len());
        }
    }

    #[test]
    fn what_no_question_can_help_is_an_error() {
        struct Denied;
        impl Asker for Denied {
            fn ask(&mut self, _: &Probe) -> Result<(), Error> {
                Err(refusal(Errno::EPERM))
            }
            fn answer(&mut self, _: Instant) -> Result<Option<Answer>, Error> {
                Ok(None)
            }
        }
        assert!(ask_all(&mut Denied, &[id("5")], &BTreeSet::new(), LONG).is_err());
    }
}
