"""Names: the zone as a pure function of the view, and the server. Uses client, objects."""
