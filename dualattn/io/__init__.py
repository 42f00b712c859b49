"""The ground floor: files, weights and photographs; `import dualattn` never loads it."""
