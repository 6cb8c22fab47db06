//! Names of tests, kept apart.

use std::collections::{HashMap, HashSet};

use super::TestEvent;

/// Keeps names apart: the second `x` becomes `x#2`.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: HashSet<String>,
    count: HashMap<String, u32>,
    /// The name an announced test was given, by the one it asked for.
    open: HashMap<String, String>,
}

impl Names {
    /// Gives an event the name that its test has here.
    pub(super) fn settle(&mut self, event: &mut TestEvent) {
        let Some(wanted) = event.name_mut().map(|name| name.clone()) else { return };
        let name = match event {
            TestEvent::Started { .. } => {
                let name = self.fresh(&wanted);
                self.open.insert(wanted, name.clone());
                name
            }
            TestEvent::Finished { .. } => match self.open.remove(&wanted) {
                Some(name) => name,
                None => self.fresh(&wanted),
            },
            TestEvent::NoVerdict { .. } | TestEvent::Note(_) | TestEvent::Progress => return,
        };
        if let Some(place) = event.name_mut() {
            *place = name;
        }
    }

    fn fresh(&mut self, wanted: &str) -> String {
        if self.used.insert(wanted.to_owned()) {
            return wanted.to_owned();
        }
        let count = self.count.entry(wanted.to_owned()).or_insert(1);
        loop {
            *count += 1;
            let name = format!("{wanted}#{count}");
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl TestEvent {
    /// The test's name.
    pub(super) fn name_mut(&mut self) -> Option<&mut String> {
        match self {
            TestEvent::Started { name, .. } => Some(name),
            TestEvent::Finished { case, .. } => Some(&mut case.name),
            TestEvent::NoVerdict { .. } | TestEvent::Note(_) | TestEvent::Progress => None,
        }
    }
}
