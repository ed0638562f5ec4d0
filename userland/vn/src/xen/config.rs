// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! A machine as `xl` is told of it. What stands in it has been through `words`: nothing can end a text between quotes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::image::{Boot, Image};
use super::record::Nic;

/// How a machine is virtualised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// By its kernel's own help
    Pv,
    /// By the processor, without emulated devices
    Pvh,
    /// By the processor, with emulated devices
    Hvm,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Hvm => "hvm",
        }
    }

    /// What an image is for if nobody says.
    pub(crate) fn of(boot: &Boot) -> Self {
        match boot {
            Boot::Kernel { .. } | Boot::Pygrub => Self::Pv,
            Boot::Disk => Self::Hvm,
        }
    }
}

/// What `xl` is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) image: Image,
    /// MiB.
    pub(crate) memory: u32,
    pub(crate) vcpus: u32,
    /// Per cent of one CPU; 0 is no limit.
    pub(crate) cap: u32,
    pub(crate) nics: Vec<Nic>,
    /// Mbit/s that the machine may send by its first device; 0 is no limit.
    pub(crate) rate: u32,
    /// The socket at which QEMU shows its screen.
    pub(crate) screen: Option<PathBuf>,
    /// More words for its kernel.
    pub(crate) words: String,
}

impl Config {
    /// The text for `xl`.
    pub(crate) fn text(&self) -> String {
        let mut text = "# Made by vn, and made anew each time the machine is started.\n".to_owned();
        let mut line = |key: &str, value: &str| {
            // PANIC: Memory takes whatever is written.
            writeln!(text, "{key} = {value}").expect("writing into memory");
        };
        line("name", &quoted(&self.name));
        line("type", &quoted(self.kind.name()));
        line("memory", &self.memory.to_string());
        line("vcpus", &self.vcpus.to_string());
        if self.cap != 0 {
            line("cap", &self.cap.to_string());
        }
        line("on_poweroff", "\"destroy\"");
        line("on_reboot", "\"restart\"");
        line("on_crash", "\"destroy\"");
        match &self.image.boot {
            Boot::Kernel { kernel, initrd } => {
                line("kernel", &quoted(&path(kernel)));
                if let Some(initrd) = initrd {
                    line("ramdisk", &quoted(&path(initrd)));
                }
            }
            Boot::Pygrub => line("bootloader", "\"pygrub\""),
            Boot::Disk => line("boot", "\"c\""),
        }
        let cmdline = self.cmdline();
        if !cmdline.is_empty() {
            line("cmdline", &quoted(&cmdline));
        }
        line("disk", &list(&self.disks()));
        line("vif", &list(&self.vifs()));
        if let Some(screen) = &self.screen {
            self.screen(&mut line, &path(screen));
        }
        text
    }

    fn cmdline(&self) -> String {
        let root = match (&self.image.boot, &self.image.root) {
            (Boot::Kernel { .. }, Some(_)) => format!("root=/dev/{} ro", self.devices()[0]),
            _ => String::new(),
        };
        [root.as_str(), self.words.as_str()]
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The names that the machine knows its disks by: root, swap, data.
    fn devices(&self) -> [&'static str; 3] {
        match (&self.image.boot, self.kind) {
            // The root disk of such an image is one file system, without partitions.
            (Boot::Kernel { .. }, _) => ["xvda1", "xvda2", "xvda3"],
            (_, Kind::Hvm) => ["hda", "hdc", "hdb"],
            _ => ["xvda", "xvdc", "xvdb"],
        }
    }

    fn disks(&self) -> Vec<String> {
        let Image {
            root, swap, data, ..
        } = &self.image;
        [root, swap, data]
            .into_iter()
            .zip(self.devices())
            .filter_map(|(disk, device)| {
                // The target comes last: it is what is left of the text.
                let target = path(disk.as_deref()?);
                Some(format!(
                    "format=raw, vdev={device}, access=rw, target={target}"
                ))
            })
            .collect()
    }

    fn vifs(&self) -> Vec<String> {
        let spec = |(index, nic): (usize, &Nic)| {
            let mut text = format!("mac={}, bridge={}", nic.mac, nic.bridge);
            if index == 0 && self.rate != 0 {
                text.push_str(&format!(", rate={}Mb/s", self.rate));
            }
            if self.kind == Kind::Hvm {
                text.push_str(", type=ioemu, model=e1000");
            }
            text
        };
        self.nics.iter().enumerate().map(spec).collect()
    }

    fn screen(&self, line: &mut impl FnMut(&str, &str), path: &str) {
        // What has a colon in it goes to QEMU as it is, which takes a socket so.
        let listen = format!("unix:{path}");
        if self.kind != Kind::Hvm {
            let vfb = format!("vnc=1, vnclisten={listen}, vncunused=0");
            return line("vfb", &list(&[vfb]));
        }
        line("vnc", "1");
        line("vnclisten", &quoted(&listen));
        line("vncunused", "0");
        line("usb", "1");
        line("usbdevice", "\"tablet\"");
    }
}

/// Only what `words::plain_path` has let pass gets here.
fn path(path: &Path) -> String {
    path.display().to_string()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return "[]".to_owned();
    }
    let items: Vec<_> = items
        .iter()
        .map(|item| format!("  {}", quoted(item)))
        .collect();
    format!("[\n{},\n]", items.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(mac: &str, bridge: &str) -> Nic {
        Nic {
            mac: mac.to_owned(),
            bridge: bridge.to_owned(),
        }
    }

    fn config(boot: Boot, kind: Kind) -> Config {
        let disk = |suffix: &str| Some(format!("/dev/disk/by-vm/centos5-2-{suffix}").into());
        Config {
            name: "centos5-2".to_owned(),
            kind,
            image: Image {
                boot,
                root: disk("root"),
                swap: disk("swap"),
                data: disk("datadisk-1"),
            },
            memory: 256,
            vcpus: 2,
            cap: 66,
            nics: vec![nic("02:00:00:05:00:56", "vnbr0005")],
            rate: 200,
            screen: Some("/run/vn/console/centos5-2".into()),
            words: "fastboot".to_owned(),
        }
    }

    /// After a wanted change: VN_OVERWRITE=1 cargo test -p vn xen::config
    fn snapshot(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/xen/{name}.cfg"));
        if std::env::var_os("VN_OVERWRITE").is_some() {
            std::fs::write(&path, text).expect("written");
        }
        let expected = std::fs::read_to_string(&path).expect("a snapshot");
        assert_eq!(text, expected, "{}", path.display());
    }

    #[test]
    fn each_kind_of_machine() {
        let kernel = Boot::Kernel {
            kernel: "/images/i0007/vmlinuz-2.6.18.8-xen".into(),
            initrd: Some("/images/i0007/initrd-2.6.18.8-xen".into()),
        };
        snapshot("pv", &config(kernel.clone(), Kind::Pv).text());
        snapshot("pygrub", &config(Boot::Pygrub, Kind::Pv).text());
        snapshot("hvm", &config(Boot::Disk, Kind::Hvm).text());
        let mut domr = config(kernel, Kind::Pvh);
        domr.name = "domR-vnet0008".to_owned();
        domr.image.root = None;
        domr.image.swap = None;
        domr.image.data = None;
        domr.cap = 0;
        domr.rate = 0;
        domr.screen = None;
        domr.nics = vec![
            nic("aa:00:00:05:00:33", "vnbr0008"),
            nic("06:01:02:03:04:05", "xenbr0"),
            nic("02:01:02:03:04:05", "eth1"),
        ];
        snapshot("domr", &domr.text());
    }
}
