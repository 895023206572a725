//! The guest's first file system: busybox, the modules that reach this machine's `/`, and a script.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::as_text;
use super::cpio::Archive;
use super::image::Kernel;
use crate::workspace;

/// Modules that bring the shared folder and the writable layer above it; what they depend on is
/// taken along.
const MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Mount tag of this machine's `/`.
pub const HOST_TAG: &str = "host";

/// Where the guest finds its job after the change of root.
const JOB: &str = "/run/cgn-job";

const INIT: &str = r#"#!/bin/busybox sh
# First program of the guest: puts a writable layer over the host's files and runs the job in it.
export PATH=/bin
fail() { echo "guest: $1"; busybox poweroff -f; }
for applet in mount mkdir insmod cp; do busybox ln -s busybox /bin/$applet; done
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
for module in /modules/*; do insmod $module || fail "cannot load $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose @HOST@ /host || fail "cannot mount the host's files"
mount -t tmpfs none /layer; mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work none /root || fail "cannot mount the writable layer"
for folder in proc sys dev; do mkdir -p /root/$folder; mount --move /$folder /root/$folder; done
mkdir -p /root/run /root/tmp /root/dev/pts /root/dev/shm /root/lib/modules
mount -t tmpfs none /root/run; mount -t tmpfs none /root/dev/shm; mount -t devpts none /root/dev/pts
mount --bind "/host@MODULES@" /root/lib/modules || fail "cannot mount the modules"
mount -t cgroup2 none /root/sys/fs/cgroup; mount -t bpf none /root/sys/fs/bpf
cp /job /root@JOB@ || fail "cannot copy the job"
exec busybox chroot /root /bin/sh @JOB@
"#;

/// Builds the archive; `job` is a shell script that runs as root over the host's files.
pub fn build(kernel: &Kernel, job: &str) -> Result<Vec<u8>> {
    let busybox = workspace::find_program("busybox").context("busybox is missing")?;
    let mut archive = Archive::default();
    for folder in [
        "bin", "proc", "sys", "dev", "host", "layer", "root", "modules",
    ] {
        archive.folder(folder);
    }
    archive.program("bin/busybox", &read(&busybox)?);
    let dependencies = read(&kernel.modules().join("modules.dep"))?;
    let order = load_order(&String::from_utf8_lossy(&dependencies), MODULES)?;
    for (index, module) in order.iter().enumerate() {
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.program(
            &format!("modules/{index:02}-{name}"),
            &read(&kernel.modules().join(module))?,
        );
    }
    let init = INIT
        .replace("@HOST@", HOST_TAG)
        .replace("@MODULES@", as_text(&kernel.all_modules())?)
        .replace("@JOB@", JOB);
    archive.program("init", init.as_bytes());
    archive.program("job", job.as_bytes());
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Files of the named modules and of all that they depend on, in an order in which each can be
/// loaded. A line of `modules.dep` is `file: file file ...`.
fn load_order(modules_dep: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let mut dependencies: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in modules_dep.lines() {
        if let Some((file, needs)) = line.split_once(':') {
            dependencies.insert(file, needs.split_whitespace().collect());
        }
    }
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let suffix = format!("/{name}.ko");
        let Some(file) = dependencies
            .keys()
            .copied()
            .find(|file| file.ends_with(&suffix))
        else {
            bail!("the kernel package has no module {name}");
        };
        add_after_needs(file, &dependencies, &mut order);
    }
    Ok(order)
}

fn add_after_needs(file: &str, dependencies: &HashMap<&str, Vec<&str>>, order: &mut Vec<String>) {
    if order.iter().any(|loaded| loaded == file) {
        return;
    }
    for need in dependencies.get(file).into_iter().flatten() {
        add_after_needs(need, dependencies, order);
    }
    order.push(file.to_owned());
}

#[cfg(test)]
mod tests {
    use super::load_order;

    const MODULES_DEP: &str = "k/fs/9p/9p.ko: k/net/9p/9pnet.ko k/fs/netfs.ko\n\
                               k/fs/netfs.ko:\nk/net/9p/9pnet.ko:\nk/net/9p/9pnet_virtio.ko: k/net/9p/9pnet.ko k/v/virtio.ko\nk/v/virtio.ko:\n";

    #[test]
    fn needs_come_first_and_once() {
        let order = load_order(MODULES_DEP, &["9pnet_virtio", "9p"]).expect("all there");
        let wanted = [
            "k/net/9p/9pnet.ko",
            "k/v/virtio.ko",
            "k/net/9p/9pnet_virtio.ko",
            "k/fs/netfs.ko",
            "k/fs/9p/9p.ko",
        ];
        assert_eq!(order, wanted);
    }

    #[test]
    fn a_missing_module_is_named() {
        let error = load_order(MODULES_DEP, &["overlay"]).expect_err("not there");
        assert!(error.to_string().contains("overlay"));
    }
}
