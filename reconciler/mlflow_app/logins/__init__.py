"""The logins that come with the app: each file is the only one that knows its login."""
