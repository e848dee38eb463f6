//! Addresses of the graphs before and after a change.

use std::fmt::Write as _;
use trimtab_protocol::name::InstanceId;

/// Where the graphs of a change are. A host numbers its changes anew with each run, so the run is named too.
pub(in crate::serve) fn of_change(generation: u64, instance: Option<&InstanceId>) -> String {
    let mut address = format!("/flamegraph/change/{generation}");
    if let Some(instance) = instance {
        address.push_str("?instance=");
        for byte in instance.as_str().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                address.push(char::from(byte));
            } else {
                // A text takes whatever is written into it.
                let _written = write!(address, "%{byte:02X}");
            }
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_any_name_stays_one_value() {
        let of = |instance: &str| of_change(7, Some(&InstanceId::from(instance)));
        assert_eq!(of_change(7, None), "/flamegraph/change/7");
        assert_eq!(of("i-1.a_b~"), "/flamegraph/change/7?instance=i-1.a_b~");
        assert_eq!(
            of("a&b=\"é"),
            "/flamegraph/change/7?instance=a%26b%3D%22%C3%A9"
        );
    }
}
