//! Two users chat through a gateway. In two terminals:
//!
//! ```text
//! cargo run -p hawser-client --example chat -- alice bob
//! cargo run -p hawser-client --example chat -- bob alice
//! ```
//!
//! Type lines. Kill and restart the gateway meanwhile: what was typed arrives once it is back.
//! A third argument names another gateway than 127.0.0.1:7900.

use std::{error::Error, io::BufRead};

use hawser_client::{Client, Event, Settings};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (user, peer, address) = match arguments.as_slice() {
        [user, peer] => (user, peer, "127.0.0.1:7900"),
        [user, peer, address] => (user, peer, address.as_str()),
        _ => return Err("usage: chat MY-NAME PEER-NAME [ADDRESS]".into()),
    };
    let mut client = Client::start(address, Settings::new(user, "terminal"), None)?;
    let mut lines = typed_lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => drop(client.send(peer, line.as_bytes()).await?),
                None => break,
            },
            event = client.next() => match event {
                Some(event) => show(&event),
                None => break,
            },
        }
    }
    client.end().await;
    Ok(())
}

/// Lines of the terminal; a thread reads them because a terminal cannot be waited for.
fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}

fn show(event: &Event) {
    match event {
        Event::Message(message) => {
            println!("{}: {}", message.sender, String::from_utf8_lossy(&message.body));
        }
        Event::Acknowledged { client_seq, sequence, .. } => {
            println!("  (line {client_seq} is safe, number {sequence} of the conversation)");
        }
        other => println!("  [{other:?}]"),
    }
}
