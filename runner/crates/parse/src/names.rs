//! Names of tests, kept apart.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::TestEvent;

/// Keeps names apart: the second `x` becomes `x#2`.
#[derive(Debug, Default)]
pub(super) struct Names {
    used: HashSet<String>,
    count: HashMap<String, u32>,
    /// The names that announced tests were given, by the one they asked for, oldest first.
    open: HashMap<String, Open>,
}

/// Announced tests that asked for one name. Nearly always it is one.
#[derive(Debug)]
struct Open {
    first: String,
    more: VecDeque<String>,
}

impl Names {
    /// Gives an event the name that its test has here.
    pub(super) fn settle(&mut self, event: &mut TestEvent) {
        let Some(wanted) = event.name_mut().map(|name| name.clone()) else { return };
        let name = match event {
            TestEvent::Started { .. } => {
                let name = self.fresh(&wanted);
                match self.open.entry(wanted) {
                    Entry::Occupied(mut open) => open.get_mut().more.push_back(name.clone()),
                    Entry::Vacant(place) => {
                        place.insert(Open { first: name.clone(), more: VecDeque::new() });
                    }
                }
                name
            }
            TestEvent::Finished { .. } => match self.announced(&wanted) {
                Some(name) => name,
                None => self.fresh(&wanted),
            },
            TestEvent::NoVerdict { .. } | TestEvent::Note(_) | TestEvent::Progress => return,
        };
        if let Some(place) = event.name_mut() {
            *place = name;
        }
    }

    /// The name that the first of the announced tests was given, if there is one.
    fn announced(&mut self, wanted: &str) -> Option<String> {
        let open = self.open.get_mut(wanted)?;
        match open.more.pop_front() {
            Some(next) => Some(std::mem::replace(&mut open.first, next)),
            None => self.open.remove(wanted).map(|open| open.first),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use kvet_base::event::{Outcome, TestCase};

    fn settled(names: &mut Names, name: &str, starts: bool) -> String {
        let (name, at) = (name.to_owned(), Duration::ZERO);
        let mut event = if starts {
            TestEvent::Started { name, at }
        } else {
            let (message, detail) = (String::new(), String::new());
            let case =
                TestCase { name, outcome: Outcome::Pass, duration: None, message, detail, cause: None };
            TestEvent::Finished { case, about_job: false, at }
        };
        names.settle(&mut event);
        event.name_mut().unwrap().clone()
    }

    #[test]
    fn a_result_has_its_announcements_name() {
        let mut names = Names::default();
        let given: Vec<_> =
            [("x", true), ("x", true), ("x", false), ("x", false), ("x", false), ("x#2", false)]
                .into_iter()
                .map(|(name, starts)| settled(&mut names, name, starts))
                .collect();
        assert_eq!(given, ["x", "x#2", "x", "x#2", "x#3", "x#2#2"]);
    }
}
