"""Replenishment: stock levels and order quantities, and a simulator of stock policies."""
