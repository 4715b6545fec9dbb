"""What CDS Sesame answers."""

ANSWER = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<Sesame xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
        xsi:noNamespaceSchemaLocation="http://vizier.u-strasbg.fr/xml/sesame_4x.xsd">
<Target option="SNV">
  <name>M31</name>
  <Resolver name="S=Simbad (via url)"><!-- delay: 5ms -->
    <oid>@1575544</oid><oname>M  31</oname><otype>AGN</otype>
    <jpos>00:42:44.33 +41:16:07.5</jpos>
    <jradeg>010.6847083</jradeg><jdedeg>+41.2687500</jdedeg>
    <pm><v>50</v><pmRA>30.0</pmRA><pmDE>-40.0</pmDE></pm>
  </Resolver>
</Target>
</Sesame>"""
NOTHING = b"""<?xml version="1.0"?><Sesame><Target option="SNV"><name>nope</name>
<Resolver name="S=Simbad"><INFO> *** Nothing found *** </INFO></Resolver></Target></Sesame>"""
