//! As much of HTTP/1.1 as reading an answer of known length takes.

use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of head and body.
    whole: usize,
    pub(crate) body: usize,
    /// The server closes the connection after it.
    pub(crate) closes: bool,
}

impl Head {
    /// The body of the answer that these bytes begin with.
    pub(crate) fn body_of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.whole - self.body..self.whole]
    }

    /// None while it is not there in full.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&bytes[..end]).expect("the head is text");
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let (mut body, mut closes) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body = value.trim().parse::<usize>().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.trim().eq_ignore_ascii_case("close");
            }
        }
        let body = body.expect("an answer that tells its length");
        Some(Self { status, whole: end + body, body, closes })
    }
}

/// Reads one answer; `buffer` is used again and again.
pub(crate) async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Head> {
    buffer.clear();
    let mut head = None;
    loop {
        if let Some(head) = head.filter(|head: &Head| buffer.len() >= head.whole) {
            return Ok(head);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        head = head.or_else(|| Head::parse(buffer));
    }
}
