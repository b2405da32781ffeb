//! What stands before several replicas.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A TCP load balancer: each connection goes to the next replica that takes it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Balancer {
    /// Starts one before `replicas`, each a host and a port.
    #[must_use]
    pub fn start(replicas: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, next) = (Arc::clone(&is_over), AtomicUsize::new(0));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let first = next.fetch_add(1, Ordering::Relaxed);
                let mut order = replicas.iter().cycle().skip(first % replicas.len()).take(replicas.len());
                // Where no replica takes it, the client finds its connection closed.
                if let Some(replica) = order.find_map(|replica| TcpStream::connect(replica).ok()) {
                    let _ = join(client, replica);
                }
            }
        });
        Self { address, is_over }
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // The listener is waiting for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn join(client: TcpStream, replica: TcpStream) -> io::Result<()> {
    for (mut from, mut to) in [(client.try_clone()?, replica.try_clone()?), (replica, client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
