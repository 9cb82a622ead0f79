"""Work of ``spherorank quantify-fluorescence``: images of stained plates become an assay file."""
