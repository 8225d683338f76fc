"""The data model of findings and how they are shown."""
