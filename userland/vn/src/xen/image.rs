// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! An image directory: what is started, and from which disks, by the names of its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{refuse, words};
use crate::failure::Refused;
use crate::storage::mount::SUFFIXES;

/// Links to the disks of images that are mounted by `vn image mount`.
const LINKS: &str = "/dev/disk/by-vm";

/// How a machine starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Boot {
    /// From a kernel of the image directory.
    Kernel {
        kernel: PathBuf,
        initrd: Option<PathBuf>,
    },
    /// With the kernel that is in its root disk.
    Pygrub,
    /// As a machine of its own, from its root disk.
    Disk,
}

/// What a machine is started from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) boot: Boot,
    pub(crate) root: Option<PathBuf>,
    pub(crate) swap: Option<PathBuf>,
    pub(crate) data: Option<PathBuf>,
}

/// Looks at the directory, and at the links to the disks of this machine.
pub(crate) fn find(directory: &Path, name: &str) -> anyhow::Result<Image> {
    find_in(directory, Path::new(LINKS), name)
}

fn find_in(directory: &Path, links: &Path, name: &str) -> anyhow::Result<Image> {
    let files = files(directory)?;
    let one = |what: &str, wanted: &dyn Fn(&str) -> bool| one(directory, &files, what, wanted);
    let kernel = one("kernel", &|file| file.starts_with("vmlinuz"))?;
    let initrd = one("initrd", &|file| file.starts_with("initrd"))?;
    let pygrub = files.iter().any(|file| file == "pygrub");
    let boot = match (kernel, pygrub) {
        (Some(kernel), true) => {
            return refuse(
                format!(
                    "{} and pygrub are both in the image directory",
                    kernel.display()
                ),
                "remove the one that is not meant",
            );
        }
        (Some(kernel), false) => Boot::Kernel { kernel, initrd },
        (None, true) => Boot::Pygrub,
        (None, false) => Boot::Disk,
    };
    let disk = |suffix: &str, wanted: &dyn Fn(&str) -> bool| -> anyhow::Result<Option<PathBuf>> {
        let link = links.join(format!("{name}-{suffix}"));
        if fs::symlink_metadata(&link).is_ok() {
            // A link whose disk has gone must not give way to a file that is older.
            fs::metadata(&link)
                .with_context(|| format!("the disk of {} is not there", link.display()))?;
            return Ok(Some(link));
        }
        one(suffix, wanted)
    };
    let swap = |file: &str| file.contains("swap");
    let [root, second, third] = SUFFIXES;
    Ok(Image {
        boot,
        root: disk(root, &|file| file.starts_with("vmi-root") && !swap(file))?,
        swap: disk(second, &swap)?,
        data: disk(third, &|file| first_data_disk(file) && !swap(file))?,
    })
}

/// Whether it is the first one, not the tenth.
fn first_data_disk(file: &str) -> bool {
    let rest = file.strip_prefix("datadisk1");
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Names of the files, devices and links to such.
fn files(directory: &Path) -> anyhow::Result<Vec<String>> {
    let what = || format!("cannot read the image directory {}", directory.display());
    let entries = fs::read_dir(directory).map_err(|error| {
        let hint = "mount it with: vn image mount";
        anyhow::Error::from(error).context(Refused::new(what()).hint(hint))
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.with_context(what)?;
        let is_directory = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir());
        if let (Ok(name), false) = (entry.file_name().into_string(), is_directory) {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

fn one(
    directory: &Path,
    files: &[String],
    what: &str,
    wanted: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Option<PathBuf>> {
    let found: Vec<_> = files.iter().filter(|file| wanted(file)).collect();
    match found.as_slice() {
        [] => Ok(None),
        [file] => {
            let path = directory.join(file);
            words::plain_path(&path).map_err(Refused::new)?;
            Ok(Some(path))
        }
        [first, second, ..] => refuse(
            format!(
                "{} has more than one {what}: {first} and {second}",
                directory.display()
            ),
            "leave the one that is meant",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_directory::Directory;

    fn directory(files: &[&str]) -> Directory {
        let directory = Directory::new();
        for file in files {
            fs::write(directory.path().join(file), "").expect("a file");
        }
        directory
    }

    fn found(files: &[&str]) -> Result<Image, String> {
        let directory = directory(files);
        let mut image = find_in(directory.path(), Path::new("/nonexistent"), "vm")
            .map_err(|error| format!("{error:#}"))?;
        let name = |path: &mut PathBuf| *path = path.file_name().expect("a name").into();
        if let Boot::Kernel { kernel, initrd } = &mut image.boot {
            name(kernel);
            initrd.as_mut().map(name);
        }
        for disk in [&mut image.root, &mut image.swap, &mut image.data] {
            disk.as_mut().map(name);
        }
        Ok(image)
    }

    #[test]
    fn by_the_names_of_the_old_readme() {
        let image = found(&[
            "vmlinuz-2.6.18.8-xen",
            "initrd-2.6",
            "vmi-root-centos52-x86_64-pv",
            "datadisk1-ext3-8g",
            "fedora-swap",
            "template.properties",
        ]);
        assert_eq!(
            image,
            Ok(Image {
                boot: Boot::Kernel {
                    kernel: "vmlinuz-2.6.18.8-xen".into(),
                    initrd: Some("initrd-2.6".into())
                },
                root: Some("vmi-root-centos52-x86_64-pv".into()),
                swap: Some("fedora-swap".into()),
                data: Some("datadisk1-ext3-8g".into()),
            })
        );
        // The swap disk of a template is vmi-swap-NAME; that of a root named swap is not meant.
        let image = found(&["pygrub", "vmi-root-x", "vmi-swap-x"]).expect("an image");
        assert_eq!(
            (image.boot, image.swap),
            (Boot::Pygrub, Some("vmi-swap-x".into()))
        );
        assert_eq!(
            found(&["vmi-root-windows"]).expect("an image").boot,
            Boot::Disk
        );
        let image = found(&["datadisk10", "datadisk11"]).expect("an image");
        assert_eq!((image.root, image.data), (None, None));
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for (files, words) in [
            (&["vmlinuz-1", "vmlinuz-2"][..], "more than one kernel"),
            (&["vmlinuz-1", "pygrub"], "are both"),
            (&["vmi-root-a", "vmi-root-b"], "more than one root"),
        ] {
            let error = found(files).expect_err("not clear");
            assert!(error.contains(words), "{error}");
        }
        let error = find_in(Path::new("/no/such"), Path::new("/no"), "vm").expect_err("missing");
        assert!(format!("{error:#}").contains("cannot read the image directory /no/such"));
    }

    #[test]
    fn links_come_first_and_must_lead_somewhere() {
        let (image, links) = (directory(&["vmi-root-x"]), directory(&["disk"]));
        let link = links.path().join("vm-root");
        std::os::unix::fs::symlink(links.path().join("disk"), &link).expect("a link");
        let found = find_in(image.path(), links.path(), "vm").expect("an image");
        assert_eq!(found.root, Some(link));
        let other = find_in(image.path(), links.path(), "v").expect("an image");
        assert_eq!(other.root, Some(image.path().join("vmi-root-x")));
        fs::remove_file(links.path().join("disk")).expect("removed");
        assert!(find_in(image.path(), links.path(), "vm").is_err());
    }
}
