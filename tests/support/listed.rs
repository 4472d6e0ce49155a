//! An enum that is a table.

/// An enum that can be iterated: `ALL` has every entry, because both come from one list.
macro_rules! listed {
    ($(#[$of_all:meta])* pub enum $name:ident { $($(#[$meta:meta])* $entry:ident,)* }) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$meta])* $entry,)* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$entry),*];
        }
    };
}
