"""How answers are shown: tables, lines and pages for people, CSV and JSON for programs."""
