//! The messages of refused keys.

use std::collections::BTreeSet;

use crate::vectors::{Vector, vectors};

/// The names of the variants, from the source.
fn variants() -> BTreeSet<String> {
    let source = include_str!("../../src/policy/refusal.rs");
    let (_, body) = source.split_once("pub enum Refusal {").unwrap();
    let names = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| line.split(['(', ',', ' ']).next().unwrap().to_owned()).collect()
}

#[test]
fn every_refusal_has_a_vector() {
    let tested: BTreeSet<String> = vectors()
        .iter()
        .map(|vector| format!("{:?}", vector.refusal).split(['(', ' ']).next().unwrap().to_owned())
        .collect();
    assert_eq!(tested, variants());
}

#[test]
fn every_message_matches_its_snapshot() {
    let mut messages: Vec<String> = Vec::new();
    for Vector { refusal, .. } in vectors() {
        let message = format!("{refusal:?}\n    {refusal}\n");
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_message_fits_a_line_of_a_form_and_shows_no_control_character() {
    for vector in vectors() {
        let message = vector.refusal.to_string();
        assert!(message.len() <= 240 && !message.ends_with('.'), "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}
