//! A guest's hardware as a value, and the QEMU command line it stands for. Nothing here does I/O.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use kvet_wire::PORT_NAME;

use kvet_base::event::Accel;

/// A guest's hardware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// QEMU's binary: a path, or a name for `PATH`.
    pub qemu: PathBuf,
    /// `-machine` type, with its own options: `q35`, `virt,gic-version=3`.
    pub machine: String,
    /// `-cpu` model.
    pub cpu: String,
    /// How the CPUs are run.
    pub accel: Accel,
    /// Number of CPUs.
    pub cpus: u32,
    /// RAM, in MiB.
    pub memory_mib: u32,
    /// The kernel image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub cmdline: Vec<String>,
    /// Folders the guest may mount.
    pub shares: Vec<HostShare>,
}

/// A folder of the host as a 9p device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostShare {
    /// The mount tag, at most 31 bytes.
    pub tag: String,
    /// The folder, absolute.
    pub dir: PathBuf,
    /// Whether QEMU refuses writes.
    pub readonly: bool,
    /// Whose its files are for the guest.
    pub owners: Owners,
}

/// Whose the files of a share are for the guest, and what modes and types they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those of the host's file system (QEMU's model `none`).
    Real,
    /// Those that are written down in files beside them (`mapped-file`). What a guest writes keeps its owner and mode
    /// there, so that no guest can make a set-uid file, a device or a symbolic link on the host.
    WrittenDown,
}

/// Descriptors of connected sockets that QEMU inherits. Sockets without a name leave nothing behind in the file
/// system, whatever kills us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sockets {
    /// The serial console.
    pub console: i32,
    /// The virtio-serial port.
    pub wire: i32,
    /// The QEMU Machine Protocol.
    pub qmp: i32,
}

impl Machine {
    /// The whole command line, QEMU's binary first. Options are those of qemu(1).
    pub fn argv(&self, sockets: Sockets) -> Vec<OsString> {
        let mut argv = Argv(vec![self.qemu.clone().into_os_string()]);
        self.push_board(&mut argv);
        self.push_kernel(&mut argv);
        push_channels(&mut argv, sockets);
        for (index, share) in self.shares.iter().enumerate() {
            push_share(&mut argv, index, share);
        }
        argv.0
    }

    fn push_board(&self, argv: &mut Argv) {
        // Only what is named here exists, whatever this QEMU or this user's configuration would add.
        argv.flag("-nodefaults").flag("-no-user-config");
        argv.option("-display", "none");
        // panic=-1 reboots at once, and a reboot ends QEMU: a dead guest is noticed by its process's end.
        argv.flag("-no-reboot");
        argv.option("-machine", format!("{},memory-backend=ram", self.machine));
        argv.option("-accel", self.accel.to_string());
        argv.option("-cpu", &self.cpu);
        argv.option("-smp", self.cpus.to_string());
        // The backend is an object of its own, so that a snapshot can put it into a file.
        argv.option("-object", format!("memory-backend-ram,id=ram,size={}M", self.memory_mib));
        argv.option("-m", format!("{}M", self.memory_mib));
    }

    fn push_kernel(&self, argv: &mut Argv) {
        argv.option("-kernel", &self.kernel);
        argv.option("-initrd", &self.initrd);
        argv.option("-append", self.cmdline.join(" "));
    }
}

fn push_channels(argv: &mut Argv, sockets: Sockets) {
    argv.option("-chardev", format!("socket,id=console,fd={}", sockets.console));
    argv.option("-serial", "chardev:console");
    argv.option("-chardev", format!("socket,id=wire,fd={}", sockets.wire));
    argv.option("-device", "virtio-serial-pci");
    argv.option("-device", format!("virtserialport,chardev=wire,name={PORT_NAME}"));
    argv.option("-chardev", format!("socket,id=qmp,fd={}", sockets.qmp));
    argv.option("-mon", "chardev=qmp,mode=control");
}

fn push_share(argv: &mut Argv, index: usize, share: &HostShare) {
    let mut fsdev = OsString::from(format!("local,id=share{index},path="));
    fsdev.push(escape_commas(share.dir.as_os_str()));
    fsdev.push(match share.owners {
        Owners::Real => ",security_model=none",
        Owners::WrittenDown => ",security_model=mapped-file",
    });
    // A folder may span file systems; inode numbers are made unique then.
    fsdev.push(if share.readonly { ",readonly=on,multidevs=remap" } else { ",multidevs=remap" });
    argv.option("-fsdev", fsdev);
    argv.option("-device", format!("virtio-9p-pci,fsdev=share{index},mount_tag={}", share.tag));
}

/// QEMU's option parser ends a value at a comma and takes a doubled one for itself.
fn escape_commas(text: &OsStr) -> OsString {
    let doubled = text.as_bytes().iter().flat_map(|&b| std::iter::repeat_n(b, if b == b',' { 2 } else { 1 }));
    OsString::from_vec(doubled.collect())
}

/// A command line under construction.
struct Argv(Vec<OsString>);

impl Argv {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.as_ref().into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(tag: &str, dir: &str, readonly: bool, owners: Owners) -> HostShare {
        HostShare { tag: tag.into(), dir: dir.into(), readonly, owners }
    }

    fn machine() -> Machine {
        Machine {
            qemu: "qemu-system-x86_64".into(),
            machine: "q35".into(),
            cpu: "max".into(),
            accel: Accel::Tcg,
            cpus: 2,
            memory_mib: 512,
            kernel: "/cache/vmlinuz".into(),
            initrd: "/cache/init.cpio".into(),
            cmdline: vec!["console=ttyS0".into(), "panic=-1".into()],
            shares: vec![
                share("kvet.tests", "/a,b", true, Owners::Real),
                share("kvet.results", "/r", false, Owners::WrittenDown),
                share("kvet.root", "/u", true, Owners::WrittenDown),
            ],
        }
    }

    #[test]
    fn the_command_line_is_exactly_this() {
        let argv = machine().argv(Sockets { console: 7, wire: 8, qmp: 9 });
        assert_eq!(
            kvet_base::quote::command(&argv),
            "qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
             -machine q35,memory-backend=ram -accel tcg -cpu max -smp 2 \
             -object memory-backend-ram,id=ram,size=512M -m 512M \
             -kernel /cache/vmlinuz -initrd /cache/init.cpio -append 'console=ttyS0 panic=-1' \
             -chardev socket,id=console,fd=7 -serial chardev:console \
             -chardev socket,id=wire,fd=8 -device virtio-serial-pci \
             -device virtserialport,chardev=wire,name=kvet.wire \
             -chardev socket,id=qmp,fd=9 -mon chardev=qmp,mode=control \
             -fsdev local,id=share0,path=/a,,b,security_model=none,readonly=on,multidevs=remap \
             -device virtio-9p-pci,fsdev=share0,mount_tag=kvet.tests \
             -fsdev local,id=share1,path=/r,security_model=mapped-file,multidevs=remap \
             -device virtio-9p-pci,fsdev=share1,mount_tag=kvet.results \
             -fsdev local,id=share2,path=/u,security_model=mapped-file,readonly=on,multidevs=remap \
             -device virtio-9p-pci,fsdev=share2,mount_tag=kvet.root"
        );
    }
}
