//! Where the files of a process's groups lie: `/proc/PID/cgroup` put together with the mounts.
//!
//! Both are as the reader sees them. With a control group namespace, or with one group mounted into a container, the path
//! is counted from the mount's root, which stands in `mountinfo` beside the mount point.

use super::handle::Handle;
use std::path::{Component, Path, PathBuf};

/// The most levels that are looked at on the way up.
const LEVELS_MAX: usize = 32;

/// A group's directory, and the mount above which nothing is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The mount point.
    mount: PathBuf,
    /// The path from there to the group; empty for the mount itself.
    below: PathBuf,
}

impl Place {
    /// A file of the group.
    pub(super) fn file(&self, root: &Path, name: &str) -> Handle {
        Handle::new(under(root, &self.mount).join(&self.below).join(name))
    }

    /// The file of that name in the group and in every group above it, up to the mount.
    pub(super) fn files_upward(&self, root: &Path, name: &str) -> Vec<Handle> {
        let mount = under(root, &self.mount);
        self.below
            .ancestors()
            .take(LEVELS_MAX)
            .map(|below| Handle::new(mount.join(below).join(name)))
            .collect()
    }
}

/// The groups of a process, as far as they are visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Of the version 1 controller `cpu`.
    pub(super) cpu: Option<Place>,
    /// Of the version 1 controller `cpuacct`.
    pub(super) cpuacct: Option<Place>,
    /// Of the version 1 controller `memory`.
    pub(super) memory: Option<Place>,
    /// Of version 2, with whatever controllers version 1 does not hold.
    pub(super) unified: Option<Place>,
}

impl Places {
    /// Reads `/proc/PID/cgroup` and `/proc/self/mountinfo`. Lines that make no sense are passed over.
    pub(super) fn find(membership: &[u8], mountinfo: &[u8]) -> Self {
        let membership = String::from_utf8_lossy(membership);
        let mountinfo = String::from_utf8_lossy(mountinfo);
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut places = Self::default();
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            // A deleted group has no files any more, and another may have taken its path.
            if path.ends_with(" (deleted)") {
                continue;
            }
            if controllers.is_empty() {
                places.unified = locate(&mounts, None, path);
                continue;
            }
            for controller in controllers.split(',') {
                let slot = match controller {
                    "cpu" => &mut places.cpu,
                    "cpuacct" => &mut places.cpuacct,
                    "memory" => &mut places.memory,
                    _ => continue,
                };
                *slot = locate(&mounts, Some(controller), path);
            }
        }
        places
    }

    /// Whether none is visible.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One line of `mountinfo` about a control group file system.
#[derive(Debug)]
struct Mount {
    /// Which part of the hierarchy is mounted.
    root: String,
    point: String,
    /// The controllers of version 1; nothing for version 2.
    controllers: Option<String>,
}

impl Mount {
    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAGS...] - TYPE SOURCE SUPER_OPTIONS`
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let controllers = match after.next()? {
            "cgroup" => Some(after.nth(1)?.to_owned()),
            "cgroup2" => None,
            _ => return None,
        };
        Some(Self {
            root: unescape(root),
            point: unescape(point),
            controllers,
        })
    }

    fn holds(&self, controller: Option<&str>) -> bool {
        match (&self.controllers, controller) {
            (None, None) => true,
            (Some(all), Some(one)) => all.split(',').any(|controller| controller == one),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

fn locate(mounts: &[Mount], controller: Option<&str>, path: &str) -> Option<Place> {
    mounts
        .iter()
        .filter(|mount| mount.holds(controller))
        .find_map(|mount| {
            let below = Path::new(path).strip_prefix(&mount.root).ok()?;
            // `/..` leads out of the control group namespace, to where nothing is mounted.
            let inside = below
                .components()
                .all(|component| matches!(component, Component::Normal(_)));
            inside.then(|| Place {
                mount: PathBuf::from(&mount.point),
                below: below.to_owned(),
            })
        })
}

/// The kernel writes blanks, tabs, line ends and backslashes in paths as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn under(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn place(mount: &str, below: &str) -> Option<Place> {
        Some(Place {
            mount: mount.into(),
            below: below.into(),
        })
    }

    #[test]
    fn a_hybrid_machine_is_settled_controller_by_controller() {
        let groups = "5:memory:/jobs/a\n4:cpu,cpuacct:/\n1:name=systemd:/x\n0::/jobs\n";
        let places = Places::find(groups.as_bytes(), HYBRID_MOUNTS.as_bytes());
        assert_eq!(places.cpu, place("/sys/fs/cgroup/cpu,cpuacct", ""));
        assert_eq!(places.cpuacct, places.cpu);
        assert_eq!(places.memory, place("/sys/fs/cgroup/memory", "jobs/a"));
        assert_eq!(places.unified, place("/sys/fs/cgroup/unified", "jobs"));
    }

    #[test]
    fn a_path_is_counted_from_the_root_of_its_mount() {
        let mounts =
            "9 1 0:5 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n".as_bytes();
        let memory = |groups: &str| Places::find(groups.as_bytes(), mounts).memory;
        assert_eq!(
            memory("5:memory:/docker/abc\n"),
            place("/sys/fs/cgroup/memory", "")
        );
        assert_eq!(
            memory("5:memory:/docker/abc/sub\n"),
            place("/sys/fs/cgroup/memory", "sub")
        );
        assert_eq!(memory("5:memory:/docker/abcdef\n"), None, "a sibling");
        assert_eq!(memory("5:memory:/\n"), None, "above the mount");
    }

    #[test]
    fn what_lies_outside_the_namespace_is_not_guessed_at() {
        let mounts = "9 1 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n".as_bytes();
        for groups in ["0::/../other\n", "0::/..\n", "0::/gone (deleted)\n"] {
            assert!(
                Places::find(groups.as_bytes(), mounts).is_empty(),
                "{groups}"
            );
        }
        assert!(!Places::find(b"0::/\n", mounts).is_empty());
    }

    #[test]
    fn blanks_in_mount_points_are_written_as_octals() {
        let mounts = "9 1 0:5 / /mnt/a\\040b\\134 rw - cgroup2 cgroup2 rw\n".as_bytes();
        assert_eq!(
            Places::find(b"0::/x\n", mounts).unified,
            place("/mnt/a b\\", "x")
        );
        assert_eq!(unescape("a\\zz\\"), "a\\zz\\");
    }

    #[test]
    fn a_path_may_hold_colons() {
        let mounts = "9 1 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n".as_bytes();
        assert_eq!(
            Places::find(b"0::/a:b/c\n", mounts).unified,
            place("/sys/fs/cgroup", "a:b/c")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_upset_the_search(
            groups in proptest::collection::vec(any::<u8>(), 0..200),
            mounts in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            std::hint::black_box(Places::find(&groups, &mounts));
        }

        #[test]
        fn no_path_leads_out_of_the_mount(path in "[a-z./:\\\\ ]{0,40}") {
            let mounts = "9 1 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n".as_bytes();
            if let Some(place) = Places::find(format!("0::{path}\n").as_bytes(), mounts).unified {
                prop_assert!(place.below.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
