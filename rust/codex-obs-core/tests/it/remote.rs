//! A destination in this process that does as it is told.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use codex_obs_core::deliver::destination::{Answer, Destination, RunFacts};
use codex_obs_core::deliver::settings::{Connector, DeliverySettings, RunFolder};
use codex_obs_core::follow::point::Point;
use codex_obs_core::paths::Stream;
use codex_obs_core::run::ending::RunStatus;
use codex_obs_core::wait::Wait;

/// What the destination does with the next call.
#[derive(Clone, Debug)]
pub enum Act {
    /// Takes everything.
    Accept,
    /// Takes it and answers as if it had not.
    AcceptUnheard,
    /// Refuses for the moment.
    Later(Duration),
    /// Refuses for ever.
    Stop,
    /// Takes everything, but not before it is released.
    Hold,
    /// Has a bug.
    Panic,
}

/// What the remote store has.
#[derive(Debug, Default)]
pub struct Store {
    /// Acts of the calls to come; the last one stays.
    pub script: VecDeque<Act>,
    /// Points in the order in which they came.
    pub points: Vec<Point>,
    /// Sizes of the batches that came.
    pub batches: Vec<usize>,
    pub params: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    pub finished: Vec<RunStatus>,
    /// When the run ended, each time that it did.
    pub ends: Vec<i64>,
    pub runs: Vec<String>,
    pub prepared: Vec<RunFacts>,
    /// Metrics that are refused for good.
    pub poison: HashSet<String>,
    /// What the last batch was that was not taken: the same must come again.
    pub refused: Option<Vec<Point>>,
    pub calls: u64,
    /// What its address ends with.
    pub name: String,
    /// The remote run that is asked for.
    pub meant: Option<String>,
    /// Calls that are held.
    pub held: u64,
    /// Calls are not held any more.
    pub released: bool,
}

/// The store and who waits for it to change.
#[derive(Clone, Debug, Default)]
pub struct Remote(Arc<(Mutex<Store>, Condvar)>);

impl Remote {
    pub fn store<T>(&self, with: impl FnOnce(&mut Store) -> T) -> T {
        let result = with(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
        result
    }

    /// What it does from now on.
    pub fn act(&self, act: Act) {
        self.store(|store| store.script = [act].into());
    }

    /// Waits until `condition` holds.
    pub fn wait_for(&self, condition: impl Fn(&Store) -> bool) {
        let store = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(store, Duration::from_mins(1), |store| !condition(store)).unwrap();
        assert!(!waited.1.timed_out(), "it never came to this; {} points", waited.0.points.len());
    }

    pub fn settings(&self) -> DeliverySettings {
        let remote = self.clone();
        let connect = move |_: &RunFolder<'_>| {
            let meant = remote.store(|store| store.meant.clone());
            Ok(Box::new(Scripted { remote: remote.clone(), run: None, meant }) as Box<dyn Destination>)
        };
        DeliverySettings { flush_interval: Duration::from_millis(5), ..DeliverySettings::new(Connector::new(connect)) }
    }

    /// `(split/metric, step, value bits)` of every point, in order.
    pub fn keys(&self) -> Vec<(String, i64, u64)> {
        self.store(|store| store.points.iter().map(key).collect())
    }
}

/// As [`Remote::keys`].
pub fn key(point: &Point) -> (String, i64, u64) {
    let name = format!("{}{}/{}", point.stream_prefix, point.split, point.metric);
    (name, point.step, point.number().to_bits())
}

#[derive(Debug)]
struct Scripted {
    remote: Remote,
    run: Option<String>,
    meant: Option<String>,
}

impl Scripted {
    fn call(&self, take: impl FnOnce(&mut Store) -> u64) -> Answer {
        let act = self.remote.store(|store| {
            store.calls += 1;
            if store.script.len() > 1 { store.script.pop_front() } else { store.script.front().cloned() }
        });
        if matches!(act, Some(Act::Panic)) {
            panic!("a bug of the destination's");
        }
        if matches!(act, Some(Act::Hold)) {
            self.remote.store(|store| store.held += 1);
            self.remote.wait_for(|store| store.released);
            self.remote.store(|store| store.held -= 1);
        }
        self.remote.store(|store| match act.unwrap_or(Act::Accept) {
            Act::Accept | Act::Hold => Answer::Taken { rejected: take(store) },
            Act::AcceptUnheard => {
                take(store);
                Answer::Later { pause: Duration::from_millis(1), why: "the answer was lost".into() }
            }
            Act::Later(pause) => Answer::Later { pause, why: "it is down".into() },
            Act::Stop => Answer::Never { why: "the run was deleted; choose another".into() },
            Act::Panic => unreachable!("handled above"),
        })
    }
}

impl Destination for Scripted {
    fn address(&self) -> String {
        self.remote.store(|store| format!("test http://remote{}", store.name))
    }

    fn remote_run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    fn meant_run(&self) -> Option<&str> {
        self.meant.as_deref()
    }

    fn prepare(&mut self, run: &RunFacts, _: &Wait) -> Answer {
        let (mut found, meant) = (None, self.meant.clone());
        let delivery = self.call(|store| {
            store.prepared.push(run.clone());
            found = meant.or_else(|| run.remote_run.clone()).or_else(|| store.runs.first().cloned());
            if found.is_none() && run.may_create {
                let name = format!("remote-{}", store.runs.len());
                store.runs.push(name.clone());
                found = Some(name);
            }
            0
        });
        if delivery == Answer::TAKEN {
            self.run = found;
            if self.run.is_none() {
                return Answer::Later { pause: Duration::from_millis(1), why: "there is no run yet".into() };
            }
        }
        delivery
    }

    fn params(&mut self, _: &Stream, params: &[(String, String)], _: &Wait) -> Answer {
        self.call(|store| {
            store.params.extend_from_slice(params);
            0
        })
    }

    fn tags(&mut self, _: &Stream, tags: &[(String, String)], _: &Wait) -> Answer {
        self.call(|store| {
            store.tags.extend_from_slice(tags);
            0
        })
    }

    fn deliver(&mut self, _: &Stream, points: &[Point], _: &Wait) -> Answer {
        let delivery = self.call(|store| {
            if let Some(refused) = &store.refused {
                assert_eq!(refused, points, "a retry has the same points");
            }
            let taken = points.iter().filter(|point| !store.poison.contains(&*point.metric));
            let before = store.points.len();
            store.points.extend(taken.cloned());
            store.batches.push(points.len());
            (points.len() - (store.points.len() - before)) as u64
        });
        let again = matches!(delivery, Answer::Later { .. });
        self.remote.store(|store| store.refused = again.then(|| points.to_vec()));
        delivery
    }

    fn finish(&mut self, _: &Stream, status: RunStatus, end_micros: i64, _: &Wait) -> Answer {
        self.call(|store| {
            store.finished.push(status);
            store.ends.push(end_micros);
            0
        })
    }
}

/// What the calls `steps` with `metrics` numbers each are at the destination.
pub fn expected(steps: impl IntoIterator<Item = i64>, metrics: u32) -> Vec<(String, i64, u64)> {
    let one =
        |step| (0..metrics).map(move |metric| (format!("train/m{metric}"), step, (f64::from(metric) + 0.5).to_bits()));
    steps.into_iter().flat_map(one).collect()
}
