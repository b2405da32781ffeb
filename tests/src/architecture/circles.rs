//! Cycles of dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display, Formatter};

use super::modules::Place;

/// The dependencies of each module, each with the first name that is used.
pub(super) type Uses = BTreeMap<Place, BTreeMap<Place, String>>;

/// Modules each of which reaches all the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle {
    places: BTreeSet<Place>,
    /// A shortest cycle, with the name that each module uses of the next.
    round: Vec<(Place, String)>,
}

impl Display for Circle {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "circle of {}:", self.places.len())?;
        for (place, path) in &self.round {
            write!(out, " {} -> ({path})", shown(place))?;
        }
        write!(out, " {}", self.round.first().map(|(place, _)| shown(place)).unwrap_or_default())
    }
}

/// The cycles in `uses`, each once.
pub(super) fn circles(uses: &Uses) -> Vec<Circle> {
    let rounds: BTreeMap<&Place, Vec<Place>> =
        uses.keys().filter_map(|place| Some((place, way_back(uses, place)?))).collect();
    let mut found: Vec<Circle> = Vec::new();
    for place in rounds.keys() {
        if found.iter().any(|circle| circle.places.contains(*place)) {
            continue;
        }
        let there = reached(uses, place);
        let places: BTreeSet<Place> =
            there.into_iter().filter(|other| reached(uses, other).contains(*place)).cloned().collect();
        let shortest = places.iter().filter_map(|place| rounds.get(place)).min_by_key(|round| round.len());
        let round = shortest.cloned().unwrap_or_default();
        let next = round.iter().cycle().skip(1);
        let round = round.iter().zip(next).map(|(from, to)| {
            let path = uses.get(from).and_then(|targets| targets.get(to)).cloned();
            (from.clone(), path.unwrap_or_default())
        });
        found.push(Circle { round: round.collect(), places });
    }
    found
}

fn reached<'a>(uses: &'a Uses, from: &Place) -> BTreeSet<&'a Place> {
    let mut reached = BTreeSet::new();
    let mut todo: Vec<&Place> = uses.get(from).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(place) = todo.pop() {
        if reached.insert(place) {
            todo.extend(uses.get(place).into_iter().flat_map(BTreeMap::keys));
        }
    }
    reached
}

/// The modules of a shortest path from `from` back to it, beginning with it; `None` if there is none.
fn way_back(uses: &Uses, from: &Place) -> Option<Vec<Place>> {
    let mut seen = BTreeSet::new();
    let mut ways = VecDeque::from([vec![from.clone()]]);
    while let Some(way) = ways.pop_front() {
        for to in uses.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if to == from {
                return Some(way);
            }
            if seen.insert(to) {
                ways.push_back([way.clone(), vec![to.clone()]].concat());
            }
        }
    }
    None
}

/// A module as messages name it.
pub(super) fn shown(place: &Place) -> String {
    if place.is_empty() { "the root".to_owned() } else { place.join("::") }
}
