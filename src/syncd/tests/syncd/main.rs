//! The real program with files of its own, and a key service that can be made to misbehave.

#![cfg(test)]

mod commands;
mod directory;
mod feed;
mod guard;
mod history;
mod hostile;
mod own_service;

mod reload;
mod support;
mod tls;
