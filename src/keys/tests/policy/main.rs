//! The key policy against real keys, hostile ones, and `ssh-keygen` as oracle.

#[cfg(test)]
mod messages;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod pasted;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod real_keys;
#[cfg(test)]
mod rsa;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wire;
