"""Backups of a home: `storage` keeps bytes, `pool` lists, `create` and `restore` use them."""
