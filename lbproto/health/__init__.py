"""Whether backends answer: probes, and who remembers what they found."""
