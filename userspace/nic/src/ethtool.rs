//! What `ethtool` prints, read. Its JSON came setting by setting over many releases, so this is the text, whose words
//! are older than the drivers; what is not understood is not there.

/// The part of `ethtool -l` or `-g` for this column: `RX`, `TX`, `Combined`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sized {
    /// What is set.
    pub now: u32,
    /// What can be set.
    pub most: u32,
}

/// Reads a column of `ethtool -l` or `-g`: maxima first, then what is set. None where the driver has no such thing.
pub(crate) fn column(text: &str, name: &str) -> Option<Sized> {
    let (most, now) = text.split_once("Current hardware settings:")?;
    let value = |part: &str| {
        let mut lines = part.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).and_then(|(_, value)| value.trim().parse::<u32>().ok())
    };
    let sized = Sized { now: value(now)?, most: value(most)? };
    (sized.most > 0).then_some(sized)
}

/// An offload in `ethtool -k` by the name that it is shown under: whether it is on, and whether that can be changed.
pub(crate) fn offload(text: &str, shown: &str) -> Option<(bool, bool)> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.trim() == shown)?;
    let mut words = value.split_whitespace();
    let on = match words.next()? {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some((on, words.next() != Some("[fixed]")))
}

/// A value of `ethtool -c`: `rx-usecs: 8`, or the first word after `Adaptive RX:` for `adaptive-rx`.
pub(crate) fn coalesce(text: &str, name: &str) -> Option<String> {
    let name = if name == "adaptive-rx" { "Adaptive RX" } else { name };
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| key.trim() == name)?;
    value.split_whitespace().next().filter(|value| *value != "n/a").map(str::to_owned)
}

/// The letters of `ethtool -N … rx-flow-hash` for what `-n` prints, in the order of its manual; the same fields are
/// the same letters.
pub(crate) fn flow_hash(text: &str) -> Option<String> {
    let fields = [
        ("L2DA", 'm'),
        ("VLAN tag", 'v'),
        ("L3 proto", 't'),
        ("IP SA", 's'),
        ("IP DA", 'd'),
        ("L4 bytes 0 & 1", 'f'),
        ("L4 bytes 2 & 3", 'n'),
    ];
    let (_, used) = text.split_once("Hash flow key:")?;
    let letters = fields.iter().filter(|(field, _)| used.lines().any(|line| line.trim().starts_with(field)));
    Some(letters.map(|(_, letter)| letter).collect())
}

/// The driver in `ethtool -i`.
pub(crate) fn driver(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("driver: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: &str = "Channel parameters for eth1:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\n\
                            Combined:\t112\nCurrent hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\t1\nCombined:\t16\n";

    #[test]
    fn queues_and_rings() {
        assert_eq!(column(CHANNELS, "Combined"), Some(Sized { now: 16, most: 112 }));
        assert_eq!(column(CHANNELS, "RX"), None);
        assert_eq!(column("netlink error: Operation not supported", "RX"), None);
        let rings = "Ring parameters for eth1:\nPre-set maximums:\nRX:\t\t\t4096\nRX Mini:\t\tn/a\nTX:\t\t\t4096\n\
                     Current hardware settings:\nRX:\t\t\t512\nRX Mini:\t\tn/a\nTX:\t\t\t1024\n";
        assert_eq!(column(rings, "RX"), Some(Sized { now: 512, most: 4096 }));
        assert_eq!(column(rings, "TX"), Some(Sized { now: 1024, most: 4096 }));
    }

    #[test]
    fn offloads() {
        let text = "Features for eth1:\nrx-checksumming: on\ngeneric-receive-offload: on\n\
                    large-receive-offload: off [fixed]\nrx-vlan-offload: off [requested on]\n\tntuple-filters: off\n";
        assert_eq!(offload(text, "generic-receive-offload"), Some((true, true)));
        assert_eq!(offload(text, "large-receive-offload"), Some((false, false)));
        assert_eq!(offload(text, "rx-vlan-offload"), Some((false, true)));
        assert_eq!(offload(text, "ntuple-filters"), Some((false, true)));
        assert_eq!(offload(text, "rx-gro-hw"), None);
    }

    #[test]
    fn interrupt_moderation() {
        let text = "Coalesce parameters for eth1:\nAdaptive RX: on  TX: off\nstats-block-usecs: n/a\n\nrx-usecs: 50\n";
        assert_eq!(coalesce(text, "adaptive-rx").as_deref(), Some("on"));
        assert_eq!(coalesce(text, "rx-usecs").as_deref(), Some("50"));
        assert_eq!(coalesce(text, "stats-block-usecs"), None);
    }

    #[test]
    fn hashed_fields() {
        let text = "UDP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\n";
        assert_eq!(flow_hash(text).as_deref(), Some("sd"));
        let all = text.to_owned() + "L4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n";
        assert_eq!(flow_hash(&all).as_deref(), Some("sdfn"));
        assert_eq!(flow_hash("Cannot get RX network flow hashing options"), None);
        assert_eq!(driver("driver: ice\nversion: 6.18\n"), Some("ice"));
    }
}
