"""Email: mail comes by IMAP and leaves by SMTP. See docs/platforms/email.md."""
