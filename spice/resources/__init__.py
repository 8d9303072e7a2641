"""What a user's own script is built from: data, networks, agents and tasks."""
