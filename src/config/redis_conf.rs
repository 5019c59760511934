//! The settings of a Redis server that keeps an acceptor.
//!
//! What an acceptor has answered must be on disk (rule 3), so the
//! append-only file is synced before each answer, nothing is evicted, and
//! snapshots, which would be a second and older truth, are off. That holds for
//! a transient acceptor too: it may forget, but need not.

use std::net::IpAddr;

use super::address::RedisAddress;

/// The text of `redis.conf` for an acceptor whose server keeps its files in
/// `dir`, an absolute path.
pub(super) fn render(acceptor: &str, address: &RedisAddress, dir: &str) -> String {
    let RedisAddress { host, port } = address;
    let ip: Option<IpAddr> = host.parse().ok();
    let (bind, note, protected_mode) = match ip {
        Some(ip) if ip.is_loopback() => (ip.to_string(), "", "yes"),
        Some(ip) => (
            ip.to_string(),
            "# Other machines are let in, without a password: keep strangers away from\n\
             # the port (a firewall, a network of its own).\n",
            "no",
        ),
        None => (
            quoted(host),
            "# Whoever reaches the address of the host name is let in, without a\n\
             # password: keep strangers away from the port.\n",
            "no",
        ),
    };
    let dir_text = quoted(dir);
    let pidfile = quoted(&format!("{dir}/redis.pid"));
    format!(
        "# Acceptor {acceptor}.\n\
         {note}\
         bind {bind}\n\
         port {port}\n\
         protected-mode {protected_mode}\n\
         daemonize no\n\
         dir {dir_text}\n\
         pidfile {pidfile}\n\
         \n\
         # An answer is on disk before it is sent, and nothing is ever dropped.\n\
         appendonly yes\n\
         appendfsync always\n\
         appendfilename \"appendonly.aof\"\n\
         save \"\"\n\
         dbfilename \"dump.rdb\"\n\
         maxmemory-policy noeviction\n"
    )
}

/// A string in the quotes of Redis' configuration language.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render_for(host: &str) -> String {
        render("a1", &RedisAddress { host: host.to_owned(), port: 6381 }, "/srv/a1")
    }

    #[test]
    fn the_server_is_durable() {
        let text = render_for("127.0.0.1");
        for line in [
            "bind 127.0.0.1",
            "port 6381",
            "appendonly yes",
            "appendfsync always",
            "save \"\"",
            "maxmemory-policy noeviction",
            "protected-mode yes",
            "daemonize no",
            "dir \"/srv/a1\"",
            "pidfile \"/srv/a1/redis.pid\"",
        ] {
            assert!(text.lines().any(|each| each == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn it_lets_in_whom_its_address_is_for() {
        for (host, bind, protected) in [
            ("::1", "::1", "yes"),
            ("10.0.0.7", "10.0.0.7", "no"),
            ("redis-1", "\"redis-1\"", "no"),
        ] {
            let text = render_for(host);
            assert!(text.contains(&format!("\nbind {bind}\n")), "{text}");
            assert!(text.contains(&format!("\nprotected-mode {protected}\n")), "{text}");
        }
    }

    #[test]
    fn a_directory_cannot_add_settings() {
        assert_eq!(quoted("a \"b\\\nc"), r#""a \"b\\\x0ac""#);
    }
}
