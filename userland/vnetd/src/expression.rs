// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Configuration files of the original daemon: S-expressions, of which `vnet.add`, `peer.add` and `varp.mcaddr` count.

use std::net::IpAddr;

use vnet_core::VnetId;

/// Lists in lists in lists; no command has more than two.
const DEPTH: usize = 16;

/// An atom or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Atom(String),
    List(Vec<Expression>),
}

/// What a file asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A vnet, perhaps with the name of its device.
    Vnet(VnetId, Option<String>),
    /// A peer.
    Peer(IpAddr),
    /// A group, perhaps with a TTL.
    Group(IpAddr, Option<u8>),
}

struct Parser<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// Skips blanks and comments.
    fn skip(&mut self) {
        while let Some(&next) = self.rest.peek() {
            if next == '#' {
                while self.rest.peek().is_some_and(|next| *next != '\n') {
                    self.next();
                }
            } else if next.is_whitespace() {
                self.next();
            } else {
                return;
            }
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, String> {
        self.skip();
        match self.rest.peek().copied() {
            Some('(') => {
                self.next();
                if depth >= DEPTH {
                    return Err("too many parentheses".to_owned());
                }
                let mut list = Vec::new();
                loop {
                    self.skip();
                    match self.rest.peek() {
                        Some(')') => {
                            self.next();
                            return Ok(Expression::List(list));
                        }
                        Some(_) => list.push(self.expression(depth + 1)?),
                        None => return Err("a parenthesis is not closed".to_owned()),
                    }
                }
            }
            Some(quote @ ('\'' | '"')) => {
                self.next();
                let mut text = String::new();
                loop {
                    match self.next() {
                        Some(next) if next == quote => return Ok(Expression::Atom(text)),
                        Some('\\') => text.extend(self.next()),
                        Some(next) => text.push(next),
                        None => return Err("a string is not closed".to_owned()),
                    }
                }
            }
            Some(')') => Err("a parenthesis too many".to_owned()),
            Some(_) => {
                let mut text = String::new();
                while let Some(&next) = self.rest.peek() {
                    if next.is_whitespace() || "(){}<>[]!;\"'#".contains(next) {
                        break;
                    }
                    text.push(next);
                    self.next();
                }
                if text.is_empty() {
                    return Err("a character that is not understood".to_owned());
                }
                Ok(Expression::Atom(text))
            }
            None => Err("something is missing at the end".to_owned()),
        }
    }
}

/// The text of a child `(key value)`.
fn child<'a>(list: &'a [Expression], key: &str) -> Option<&'a str> {
    list.iter().find_map(|expression| match expression {
        Expression::List(pair) => match pair.as_slice() {
            [Expression::Atom(name), Expression::Atom(value)] if name == key => {
                Some(value.as_str())
            }
            _ => None,
        },
        Expression::Atom(_) => None,
    })
}

fn address(list: &[Expression]) -> Result<IpAddr, String> {
    let text = child(list, "addr").ok_or("(addr ADDRESS) is missing")?;
    text.parse()
        .map_err(|_| format!("{text} is not an address"))
}

fn wish(expression: &Expression) -> Result<Wish, String> {
    let Expression::List(list) = expression else {
        return Err("a command is in parentheses".to_owned());
    };
    let Some((Expression::Atom(command), rest)) = list.split_first() else {
        return Err("a command has a name".to_owned());
    };
    match command.as_str() {
        "vnet.add" => {
            let text = child(rest, "id").ok_or("(id ID) is missing")?;
            let id = text.parse().map_err(|error| format!("{text}: {error}"))?;
            if let Some(security @ ("auth" | "conf")) = child(rest, "security") {
                return Err(format!("security {security} is not supported"));
            }
            Ok(Wish::Vnet(id, child(rest, "vnetif").map(str::to_owned)))
        }
        "peer.add" => Ok(Wish::Peer(address(rest)?)),
        "varp.mcaddr" => {
            let ttl = child(rest, "ttl").map(|ttl| {
                let parsed = ttl.parse().ok().filter(|ttl| *ttl > 0);
                parsed.ok_or_else(|| format!("{ttl} is not a TTL"))
            });
            Ok(Wish::Group(address(rest)?, ttl.transpose()?))
        }
        other => Err(format!(
            "{other} is not understood; there are vnet.add, peer.add and varp.mcaddr"
        )),
    }
}

/// What a file asks for.
///
/// # Errors
///
/// The number of the line, and why.
pub(crate) fn parse(text: &str) -> Result<Vec<Wish>, (usize, String)> {
    let mut parser = Parser {
        rest: text.chars().peekable(),
        line: 1,
    };
    let mut wishes = Vec::new();
    loop {
        parser.skip();
        if parser.rest.peek().is_none() {
            return Ok(wishes);
        }
        let line = parser.line;
        let parsed = parser.expression(0).and_then(|found| wish(&found));
        wishes.push(parsed.map_err(|reason| (line, reason))?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_commands() {
        let text = "# a comment\n(vnet.add (id 0005) (vnetif 'vnif5') (security none))\n\
                    (peer.add (addr 198.51.100.3) (port 1798)) (varp.mcaddr (addr 224.10.0.2) (ttl 3))";
        let id = "5".parse().expect("an id");
        let wishes = parse(text).expect("good");
        assert_eq!(
            wishes,
            [
                Wish::Vnet(id, Some("vnif5".to_owned())),
                Wish::Peer([198, 51, 100, 3].into()),
                Wish::Group([224, 10, 0, 2].into(), Some(3)),
            ]
        );
        assert_eq!(parse(" # nothing"), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line) in [
            ("\n(vnet.add)", 2),
            ("(vnet.add (id 0))", 1),
            ("(vnet.add (id 5) (security auth))", 1),
            ("(peer.add (addr x))", 1),
            ("(vnet.list)", 1),
            ("(vnet.add (id 5)", 1),
            (")", 1),
            ("(vnet.add (id '5))", 1),
            ("<", 1),
            ("x", 1),
        ] {
            assert_eq!(parse(text).map_err(|(line, _)| line), Err(line), "{text}");
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
    }
}
