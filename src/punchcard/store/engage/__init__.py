"""What Engage stores: profiles, audiences, traits and their syncs. All SQL on it is here."""
