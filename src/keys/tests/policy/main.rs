//! Tests of the key policy with real and hostile keys, and with `ssh-keygen` as the oracle.

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
