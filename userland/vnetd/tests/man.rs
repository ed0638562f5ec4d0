// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! `docs/man/vnetd.8` is what the options make it. After a change: `VNET_UPDATE=1 cargo test -p vnetd --test man`

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

/// What the options do not say.
const REST: &str = r#".SH SIGNALS
SIGTERM and SIGINT end the daemon: its devices go, bridges stay, and the state file stays for the next start.
.SH FILES
.TP
/run/vnetd/control
The control socket, a SOCK_SEQPACKET socket that speaks the messages of the netlink family vnet. Everybody may read; changes need
user id 0.
.TP
/run/vnetd/state
What was configured: settings, peers, vnets, listed hosts, static entries, and of which bridge each device was a port. It is
replaced with each change and read at the start. What it says and cannot be made again keeps the daemon from starting.
.TP
/dev/net/tun
The kernel's driver of the devices.
.SH "EXIT STATUS"
0 after a signal, 1 if it could not start (it says why), 2 for wrong options.
.SH NOTES
The daemon belongs to the network namespace that it is started in. Another one in another namespace needs another
.B \-\-socket
and another
.BR \-\-state .
The kernel module and the daemon cannot serve the same namespace on the same port; the daemon refuses to start while the module has vnets there.
.PP
It needs CAP_NET_ADMIN and CAP_NET_RAW, the latter for packets that it relays for peers with the address of who sent them.
.SH "SEE ALSO"
.BR vn (8)
"#;

#[test]
fn the_manual_page_is_up_to_date() {
    let command = vnetd::options::Options::command();
    let page = Man::new(command).section("8").manual("vnet");
    let mut text = b".\\\" SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0\n\
        .\\\" Made by a test of vnetd; do not edit.\n"
        .to_vec();
    page.render_title(&mut text).expect("memory");
    page.render_name_section(&mut text).expect("memory");
    page.render_synopsis_section(&mut text).expect("memory");
    page.render_description_section(&mut text).expect("memory");
    page.render_options_section(&mut text).expect("memory");
    text.extend(REST.as_bytes());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/vnetd.8");
    if std::env::var_os("VNET_UPDATE").is_some() {
        std::fs::write(&path, &text).expect("the page can be written");
    }
    let there = std::fs::read(&path).unwrap_or_default();
    assert_eq!(
        String::from_utf8_lossy(&there),
        String::from_utf8_lossy(&text),
        "run with VNET_UPDATE=1"
    );
}
