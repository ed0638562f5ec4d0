// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
//! What the benchmark does with sockets:
//!
//! * `sockets take ADDRESS`: takes TCP streams, and says at the end of each how much came in what time.
//! * `sockets give ADDRESS SECONDS STREAMS`: sends TCP streams for that long; prints the bytes that arrived, and the
//!   nanoseconds from the first to the last.
//! * `sockets echo ADDRESS`: sends back what comes.
//! * `sockets ask ADDRESS COUNT`: one question at a time; prints the median and the 99th percentile of the time until the
//!   answer, in nanoseconds.
//! * `sockets count ADDRESS SECONDS`: prints how many packets came between the first one and that much later.
//! * `sockets blast ADDRESS SECONDS SIZE`: sends as fast as it can; prints how many were sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Bytes that are given to a stream at once.
const BLOCK: usize = 128 * 1024;
const WAIT: Duration = Duration::from_secs(10);

fn take_one(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut bytes = stream.read(&mut buffer)? as u64;
    let start = Instant::now();
    loop {
        let read = stream.read(&mut buffer)? as u64;
        if read == 0 {
            break;
        }
        bytes += read;
    }
    let nanos = start.elapsed().as_nanos() as u64;
    stream.write_all(&bytes.to_be_bytes())?;
    stream.write_all(&nanos.to_be_bytes())
}

fn take(address: &str) -> Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        // Who gave up has said so itself.
        thread::spawn(move || drop(take_one(stream)));
    }
    Ok(())
}

fn give_one(mut stream: TcpStream, long: Duration) -> std::io::Result<(u64, u64)> {
    let block = vec![0; BLOCK];
    let start = Instant::now();
    while start.elapsed() < long {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut number = || -> std::io::Result<u64> {
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    };
    Ok((number()?, number()?))
}

fn give(address: &str, seconds: f64, streams: usize) -> Result<()> {
    let connected: Vec<TcpStream> = (0..streams)
        .map(|_| TcpStream::connect_timeout(&address.parse().map_err(std::io::Error::other)?, WAIT))
        .collect::<std::io::Result<_>>()?;
    let long = Duration::from_secs_f64(seconds);
    let threads: Vec<_> = connected
        .into_iter()
        .map(|stream| thread::spawn(move || give_one(stream, long)))
        .collect();
    let (mut bytes, mut nanos) = (0, 0);
    for thread in threads {
        let (more, took) = thread.join().map_err(|_| "a stream died")??;
        bytes += more;
        nanos = nanos.max(took);
    }
    println!("{bytes} {nanos}");
    Ok(())
}

fn echo(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(buffer.get(..length).unwrap_or(&[]), from)?;
    }
}

fn ask(address: &str, count: usize) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 64];
    let mut times = Vec::with_capacity(count);
    let mut lost = 0;
    while times.len() < count {
        let start = Instant::now();
        socket.send(&buffer)?;
        match socket.recv(&mut buffer) {
            Ok(_) => times.push(start.elapsed()),
            Err(error) => {
                lost += 1;
                if lost > 10 {
                    return Err(format!("no answers from {address}: {error}").into());
                }
            }
        }
    }
    times.sort_unstable();
    let at = |part: usize| times.get(count * part / 100).map_or(0, Duration::as_nanos);
    println!("{} {}", at(50), at(99));
    Ok(())
}

fn count(address: &str, seconds: f64) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(WAIT))?;
    let mut buffer = [0; 2048];
    socket.recv(&mut buffer)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let (start, long) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut packets = 0u64;
    while start.elapsed() < long {
        if socket.recv(&mut buffer).is_ok() {
            packets += 1;
        }
    }
    println!("{packets}");
    Ok(())
}

fn blast(address: &str, seconds: f64, size: usize) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(address)?;
    let buffer = vec![0; size];
    let (start, long) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut packets = 0u64;
    while start.elapsed() < long {
        for _ in 0..64 {
            // A full queue is what is wanted; an answer that nobody listens yet is not an error either.
            packets += u64::from(socket.send(&buffer).is_ok());
        }
    }
    println!("{packets}");
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["take", address] => take(address),
        ["give", address, seconds, streams] => give(address, seconds.parse()?, streams.parse()?),
        ["echo", address] => echo(address),
        ["ask", address, number] => ask(address, number.parse()?),
        ["count", address, seconds] => count(address, seconds.parse()?),
        ["blast", address, seconds, size] => blast(address, seconds.parse()?, size.parse()?),
        _ => Err("usage: sockets take ADDRESS | give ADDRESS SECONDS STREAMS | echo ADDRESS | ask ADDRESS COUNT | count ADDRESS SECONDS | blast ADDRESS SECONDS SIZE".into()),
    }
}
