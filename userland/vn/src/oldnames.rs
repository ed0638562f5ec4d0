// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! The names of the scripts that `vn` has taken the place of: called by one of them, it takes that script's options.

mod openings;
mod xen;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{self, Context, disk, image, template};
use crate::storage::disk::Which;
use crate::storage::export::Access;
use crate::storage::image::Data;
use crate::storage::mount::Mount;
use crate::storage::zfs::Name;
use crate::storage::{delete, image as images, lio, mount, size, template as templates, unmount};

#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    bin_name = "",
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Old {
    #[command(subcommand)]
    script: Script,
}

/// The scripts, by their names.
#[derive(Debug, Subcommand)]
#[command(disable_help_flag = true)]
pub(crate) enum Script {
    /// Make a template: vn template create
    #[command(name = "createtmplt.sh")]
    CreateTemplate(CreateTemplate),
    /// Make an image from a template: vn image create
    #[command(name = "createvm.sh")]
    CreateVm(CreateVm),
    /// Remove an image: vn image delete
    #[command(name = "delvm.sh")]
    DeleteVm(DeleteVm),
    /// List clones: vn image list
    #[command(name = "listclones.sh")]
    ListClones(ListClones),
    /// Print the name and the target of a disk: vn disk show
    #[command(name = "listvmdisk.sh")]
    ListDisk(ListDisk),
    /// Print the size of a disk: vn disk size
    #[command(name = "listvmdisksize.sh")]
    ListSize(ListSize),
    /// Mount or unmount an image: vn image mount, vn image unmount
    #[command(name = "mountvm.sh")]
    MountVm(MountVm),
    /// Print targets and the names of their disks: vn iscsi map
    #[command(name = "mapiscsi.sh")]
    MapIscsi(MapIscsi),
    /// Start a virtual machine: vn vm run
    #[command(name = "runvm.sh")]
    RunVm(xen::RunVm),
    /// Stop a virtual machine or a routing domain: vn vm stop
    #[command(name = "stopvm.sh")]
    StopVm(xen::StopVm),
    /// Start a routing domain: vn domr run
    #[command(name = "rundomr.sh")]
    RunDomr(xen::RunDomr),
    /// Make a device a port of a bridge: vn port up
    #[command(name = "qemu-ifup")]
    PortUp(xen::PortUp),
    /// Remove vnets with their bridges: vn net cleanup
    #[command(name = "vnetcleanup.sh")]
    CleanVnets(xen::CleanVnets),
    /// Give a routing domain a public address, or take it away: vn domr ip
    #[command(name = "ipassoc.sh")]
    IpAssoc(openings::IpAssoc),
    /// Open or close something: vn domr firewall
    #[command(name = "firewall.sh")]
    Firewall(openings::Firewall),
}

/// `-h` has another meaning in some scripts.
#[derive(Debug, Args)]
struct Help {
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateTemplate {
    /// The file system of the template; it is made unless it is there
    #[arg(short = 't', value_name = "FS")]
    system: Name,
    /// The image of the root disk
    #[arg(short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// The name of the template
    #[arg(short = 'n', value_name = "NAME", value_parser = templates::name)]
    name: String,
    /// The size of its volume, in GiB or with a suffix
    #[arg(short = 's', value_name = "SIZE", value_parser = size::parse)]
    size: u64,
    /// The image is for hardware virtualisation
    #[arg(short = 'h')]
    hvm: bool,
    /// The checksum of the file
    #[arg(short = 'c', value_name = "HEX", value_parser = templates::checksum)]
    checksum: Option<String>,
    /// A description
    #[arg(short = 'd', value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct CreateVm {
    /// The template: a file system, or a snapshot of one
    #[arg(short = 't', value_name = "FS")]
    template: Name,
    /// The volume of which a clone becomes the data disk
    #[arg(short = 'd', value_name = "VOLUME", conflicts_with = "size")]
    data: Option<Name>,
    /// The size of an empty data disk, in GiB or with a suffix
    #[arg(short = 's', value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,
    /// The file system of the image
    #[arg(short = 'i', value_name = "FS")]
    image: Name,
    /// The user's file system
    #[arg(short = 'u', value_name = "FS")]
    user: Name,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteVm {
    /// The file system of the image
    #[arg(short = 'i', value_name = "FS", required_unless_present = "user")]
    image: Option<Name>,
    /// The user's file system
    #[arg(short = 'u', value_name = "FS")]
    user: Option<Name>,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct ListClones {
    /// The file system below which they are
    #[arg(short = 'p', value_name = "FS")]
    parent: Name,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct ListDisk {
    /// The file system of the image
    #[arg(short = 'i', value_name = "FS")]
    image: Name,
    /// The root disk
    #[arg(short = 'r', conflicts_with_all = ["swap", "data"])]
    root: bool,
    /// The swap disk
    #[arg(short = 'w', conflicts_with = "data")]
    swap: bool,
    /// Data disk N; 0 is the root disk
    #[arg(short = 'd', value_name = "N", required_unless_present_any = ["root", "swap"])]
    data: Option<u32>,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct ListSize {
    /// The volume
    #[arg(short = 'd', value_name = "VOLUME")]
    volume: Name,
    /// Its size
    #[arg(short = 't', conflicts_with = "actual")]
    total: bool,
    /// The bytes that it takes
    #[arg(short = 'a', required_unless_present = "total")]
    actual: bool,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct MountVm {
    /// Mount
    #[arg(short = 'm', requires_all = ["host", "remote", "name", "root"], conflicts_with = "unmount")]
    mount: bool,
    /// Unmount
    #[arg(short = 'u', required_unless_present = "mount")]
    unmount: bool,
    /// The storage host
    #[arg(short = 'h', value_name = "HOST", value_parser = mount::host)]
    host: Option<String>,
    /// The directory of this host
    #[arg(short = 'l', value_name = "DIR", value_parser = mount::local)]
    local: PathBuf,
    /// The directory of the storage host
    #[arg(short = 'r', value_name = "DIR", value_parser = mount::remote)]
    remote: Option<String>,
    /// The name of the virtual machine
    #[arg(short = 'n', value_name = "NAME", value_parser = mount::name)]
    name: Option<String>,
    /// The target of the root disk
    #[arg(short = 't', value_name = "IQN", value_parser = lio::iqn)]
    root: Option<String>,
    /// The target of the swap disk
    #[arg(short = 'w', value_name = "IQN", value_parser = lio::iqn)]
    swap: Option<String>,
    /// The target of the data disk
    #[arg(short = '1', value_name = "IQN", value_parser = lio::iqn)]
    data: Option<String>,
    #[command(flatten)]
    help: Help,
}

#[derive(Debug, Args)]
pub(crate) struct MapIscsi {
    #[command(flatten)]
    help: Help,
}

/// The command line as that of a script, if this program was called by the name of one.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Option<Result<Script, clap::Error>> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let name = Path::new(arguments.first()?).file_name()?.to_owned();
    let mut command = Old::command();
    command.find_subcommand(&name)?;
    arguments[0] = name;
    let old = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| {
            let old = Old::from_arg_matches(&matches);
            old.map_err(|error| error.format(&mut command))
        });
    Some(old.map(|old| old.script))
}

/// Carries it out.
pub(crate) fn run(script: Script) -> anyhow::Result<()> {
    let context = &mut commands::plain();
    match script {
        Script::CreateTemplate(of) => create_template(context, of),
        Script::CreateVm(of) => create_vm(context, of),
        Script::DeleteVm(of) => image::delete(
            context,
            &delete::Request {
                image: of.image,
                user: of.user,
                force: false,
                yes: false,
                if_exists: false,
            },
        ),
        Script::ListClones(of) => image::list_names(context, &of.parent),
        Script::ListDisk(of) => {
            let which = match (of.root, of.data) {
                (true, _) => Which::Root,
                (_, Some(number)) => Which::Data(number),
                _ => Which::Swap,
            };
            disk::show(context, &of.image, Some(which))
        }
        Script::ListSize(of) => disk::size(context, &of.volume, of.actual),
        Script::MountVm(of) => mount_vm(context, of),
        Script::MapIscsi(_) => disk::iscsi(context, disk::IscsiVerb::Map),
        Script::RunVm(of) => xen::run_vm(context, of),
        Script::StopVm(of) => xen::stop_vm(context, &of),
        Script::RunDomr(of) => xen::run_domr(context, of),
        Script::PortUp(of) => xen::port_up(context, &of),
        Script::CleanVnets(of) => xen::clean_vnets(context, &of),
        Script::IpAssoc(of) => openings::address(context, of),
        Script::Firewall(of) => openings::firewall(context, of),
    }
}

fn create_template(context: &mut Context, of: CreateTemplate) -> anyhow::Result<()> {
    let request = templates::Request {
        system: of.system,
        file: of.file,
        name: of.name,
        size: of.size,
        hvm: of.hvm,
        checksum: of.checksum,
        description: of.description,
        kernel: None,
        initrd: None,
        any_content: false,
        snapshot: None,
    };
    template::create(context, &request)
}

fn create_vm(context: &mut Context, of: CreateVm) -> anyhow::Result<()> {
    let data = match (of.data, of.size) {
        (Some(volume), _) => Data::Clone(volume),
        (None, Some(size)) => Data::Blank(size),
        (None, None) => Data::None,
    };
    let request = images::Request {
        template: of.template,
        image: of.image,
        user: of.user,
        data,
        access: Access::default(),
        may_exist: false,
    };
    image::create(context, &request)
}

fn mount_vm(context: &mut Context, of: MountVm) -> anyhow::Result<()> {
    let (
        MountVm {
            local,
            root,
            swap,
            data,
            ..
        },
        host,
        remote,
        name,
    ) = match of {
        MountVm {
            mount: true,
            host: Some(ref host),
            remote: Some(ref remote),
            name: Some(ref name),
            ..
        } => {
            let (host, remote, name) = (host.clone(), remote.clone(), name.clone());
            (of, host, remote, name)
        }
        MountVm {
            local,
            name,
            root,
            swap,
            data,
            ..
        } => {
            let targets = [root, swap, data].into_iter().flatten().collect();
            return image::unmount(
                context,
                &unmount::Request {
                    local,
                    name,
                    targets,
                },
            );
        }
    };
    let wanted = Mount {
        name,
        host,
        remote,
        local,
        targets: [root, swap, data],
    };
    image::mount(context, &wanted, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(line: &str) -> Option<Result<Script, clap::Error>> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_lines_are_consistent() {
        Old::command().debug_assert();
    }

    #[test]
    fn only_by_the_name_of_a_script() {
        assert!(script("vn net list").is_none());
        assert!(script("/usr/sbin/vn").is_none());
        assert!(script("createvm").is_none());
        assert!(matches!(
            script("./mapiscsi.sh"),
            Some(Ok(Script::MapIscsi(_)))
        ));
    }

    #[test]
    fn the_examples_of_the_old_readme() {
        for line in [
            "./createvm.sh -t tank/volumes/demo/template/public/os/centos52-x86_64 -d \
             /tank/volumes/demo/template/public/datadisk/ext3-8g -i /tank/demo/vm/chiradeep/i0007 -u /tank/demo/vm/chiradeep",
            "listvmdisk.sh -i tank/demo/vm/chiradeep/i0007 -r",
            "listvmdisk.sh -i tank/demo/vm/chiradeep/i0007 -w",
            "listvmdisk.sh -i tank/demo/vm/chiradeep/i0007 -d 1",
            "./listvmdisksize.sh -d tank/demo/vm/chiradeep/i0007/datadisk1-ext3-8g -t",
            "./delvm.sh -u tank/demo/vm/chiradeep -i tank/demo/vm/chiradeep/i0007",
            "./listclones.sh -p tank/demo/vm",
            "./mountvm.sh -m -h 192.168.1.248 -t iqn.1986-03.com.sun:02:bf65dcfd-42b5-6e0e-e08e-99ae311b39ba -l \
             /images/chiradeep/i0005 -n centos52 -r tank/demo/vm/chiradeep/i0005 -1 \
             iqn.1986-03.com.sun:02:6d505eee-bf64-6729-e362-bab6c148bbc8",
            "mountvm.sh -u -l /images/u00000002/i0003",
            "createtmplt.sh -t rpool/volumes/demo/template/public/os/ubuntu8 -f \
             /rpool/volumes/demo/template/public/download/ubuntu8/ubuntu8.0.img -n ubuntu8 -s 12G",
            "createtmplt.sh -t a/b -f /f -n x -s 12 -h",
            "ipassoc.sh -A -r domR-vnet0007 -i 192.168.1.32 -l 65.37.141.33 -a 06:01:02:03:06:05",
            "ipassoc.sh -D -r domR-vnet0007 -i 192.168.1.32 -l 65.37.141.33",
            "firewall.sh -A -i 192.168.1.133 -P tcp -p 22 -r 10.1.1.155 -l 65.37.141.33 -d 22",
            "firewall.sh -A -i 192.168.1.133 -P icmp -t echo-request -r 10.1.1.155 -l 65.37.141.33",
            "firewall.sh -D -i 192.168.1.133 -P udp -p 5000:5010 -r 10.1.1.155 -l 65.37.141.33 -d 6000:6010",
            "/runvm.sh -v 0005 -i 10.1.1.56 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l centos5-2 -c 11 -n 2 -u 66 \
             /images/chiradeep/i0007",
            "runvm.sh -v 0005 -i 10.1.1.56 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l x -c 11 -w secret -b hvm /images/x",
            "stopvm.sh -l centos5-2",
            "stopvm.sh -f -l centos5-2",
            "vnetcleanup.sh -a",
            "vnetcleanup.sh -v 0005",
            "qemu-ifup tap1.0 vnbr0005",
        ] {
            let parsed = script(line).expect("a script");
            parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn the_routing_domain_of_the_old_readme() {
        let line = "./rundomr.sh -v 0008 -m 128 -i 192.168.1.33 -g 65.37.141.1 -a aa:00:00:05:00:33 -l domR-vnet0008 \
                    -A 06:01:02:03:04:05 -p 02:01:02:03:04:05 -n 255.255.255.0 -I 65.37.141.33 -N 255.255.255.128 -b eth1 -d";
        let mut words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        words.push("dns1=192.168.1.254 dns2=207.69.188.186 domain=vmops.org".into());
        words.push("/images/chiradeep/router".into());
        let parsed = parse(words).expect("a script");
        assert!(matches!(parsed, Ok(Script::RunDomr(_))), "{parsed:?}");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for line in [
            "createvm.sh -t a/b -i a/c/d",
            "createvm.sh -t a/b -i a/c/d -u a/c -d a/d -s 1",
            "listvmdisk.sh -i a/b",
            "listvmdisk.sh -i a/b -r -w",
            "listvmdisksize.sh -d a/b",
            "delvm.sh",
            "mountvm.sh -l /a",
            "mountvm.sh -m -l /a",
            "mountvm.sh -m -u -l /a",
            "createtmplt.sh -t a/b -f /f -n x -s 12X",
            "ipassoc.sh -r a -i 192.168.1.32 -l 65.37.141.33",
            "ipassoc.sh -A -D -r a -i 192.168.1.32 -l 65.37.141.33",
            "ipassoc.sh -A -r a -l 65.37.141.33",
            "ipassoc.sh -A -r a -i 192.168.1.32 -l 65.37.141.333",
            "ipassoc.sh -A -r a -i 192.168.1.32 -l 65.37.141.33 -a 01:00:00:00:00:00",
            "firewall.sh -A -i 192.168.1.133 -P sctp -p 22 -r 10.1.1.155 -l 65.37.141.33",
            "firewall.sh -A -i 192.168.1.133 -P tcp -p 22 -r 10.1.1.1 -l 65.37.141.33",
            "firewall.sh -A -i 192.168.1.133 -P tcp -p 22;reboot -r 10.1.1.155 -l 65.37.141.33",
            "firewall.sh -i 192.168.1.133 -P tcp -p 22 -r 10.1.1.155 -l 65.37.141.33",
            "runvm.sh -v 0005 -i 10.1.1.1 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l x -c 11 /images/x",
            "runvm.sh -v 0005 -i 10.1.1.5 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l gateway -c 11 /images/x",
            "runvm.sh -v 0005 -i 10.1.1.5 -m 256 -g 192.168.1.33 -a 03:00:00:05:00:56 -l x -c 11 /images/x",
            "runvm.sh -v 0005 -i 10.1.1.5 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l a_b -c 11 /images/x",
            "runvm.sh -v 0005 -i 10.1.1.5 -m 256 -g 192.168.1.33 -a 02:00:00:05:00:56 -l x -c 11 images/x",
            "stopvm.sh",
            "vnetcleanup.sh",
            "vnetcleanup.sh -a -v 5",
        ] {
            assert!(script(line).expect("a script").is_err(), "{line}");
        }
    }
}
